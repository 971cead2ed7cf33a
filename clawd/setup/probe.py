"""One tiny run of the real client, in the real cage, that shows whether the login works."""

from __future__ import annotations

import shutil
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from clawd.adapters import cage, claude
from clawd.adapters.cage import CageSpec, Network
from clawd.adapters.claude import Binary
from clawd.adapters.credential import read_credential
from clawd.config import Login, Sandbox
from clawd.errors import ClawdError
from clawd.pipeline.desk import Desk
from clawd.pipeline.equip import PROGRAM_INSIDE, ROLE_INSIDE
from clawd.policy import outcome as outcomes
from clawd.policy.failure import REASONS, Reason
from clawd.policy.outcome import Ending, Kind
from clawd.running import launch, stream
from clawd.running.records import Launch, Limits, Secret

_WALL_S = 120.0


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of it."""

    ok: bool
    detail: str
    remedy: str = ""


def login(desk: Desk, binary: Binary, environ: Mapping[str, str]) -> Tried:
    """Runs the probe and judges it by the rules every run is judged by."""
    folder = desk.home / "runs" / f"probe-{uuid.uuid4().hex[:8]}"
    try:
        request = _request(desk, binary, folder, environ)
        launch.start(request)
        result = launch.wait(request.folder, _WALL_S + 30, threading.Event())
        if result is None:
            launch.stop(request.folder, "the probe took too long")
            return Tried(
                False, "The client did not answer.", "Look at the network, then try again."
            )
        facts = stream.read(request.folder / "stream.jsonl")
        said = launch.tail(request.folder / "stderr.txt", 2_000)
    except ClawdError as error:
        return Tried(False, error.message, error.remedy)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    ending = Ending(result.rc, result.why, result.reason, said)
    judged = outcomes.judge(facts, ending, now=datetime.now(UTC))
    # A model that ran out of its one turn has answered, and that is all that is asked here.
    if judged.kind is Kind.COMPLETED or judged.reason is Reason.TURN_LIMIT:
        return Tried(True, f"the model answered ({facts.model or 'unnamed'})")
    remedy = REASONS[judged.reason].remedy if judged.reason else "Run `clawd doctor`."
    return Tried(False, judged.detail or str(judged.reason), remedy)


def _request(desk: Desk, binary: Binary, folder: Path, environ: Mapping[str, str]) -> Launch:
    for part in ("work", "home"):
        (folder / part).mkdir(mode=0o700, parents=True)
    role = folder / "role.md"
    role.write_text("You answer with one word.\n")
    caged = desk.config.sandbox is not Sandbox.NONE
    program = binary.path if binary.script or not caged else Path(PROGRAM_INSIDE)
    probe = claude.probe_login(
        str(program),
        binary.version,
        desk.config.agents.pm.model,
        str(uuid.uuid4()),
        ROLE_INSIDE if caged else str(role),
    )
    home = folder / "home"
    shown = binary.path.parent if binary.script else binary.path
    binds = [(shown, str(shown) if binary.script else PROGRAM_INSIDE), (role, ROLE_INSIDE)]
    secret, env = _credential(desk, home, binds), dict(probe.env)
    if secret is not None and (url := read_credential(secret.file).base_url):
        env["ANTHROPIC_BASE_URL"] = url
    network = Network.NONE if desk.config.login is Login.NONE else Network.OPEN
    spec = CageSpec(folder / "work", home, network=network, read_only=tuple(binds))
    return Launch(
        folder=folder / "run",
        marker=folder.name,
        argv=probe.argv,
        env=env if caged else claude.bare_environment(environ, home, env),
        cwd=folder / "work",
        stdin_text=probe.prompt,
        cage=spec if caged else None,
        limits=Limits(wall_s=_WALL_S, turns=2),
        secret=secret,
    )


def _credential(desk: Desk, home: Path, binds: list[tuple[Path, str]]) -> Secret | None:
    if desk.config.login is Login.TOKEN:
        known = read_credential(desk.login_file)
        return Secret(known.file, known.key, known.descriptor_variable)
    theirs = Path.home() / ".claude" / ".credentials.json"
    if desk.config.login is Login.INHERIT and theirs.exists():
        inside = cage.home_inside(CageSpec(workspace=home, home=home))
        binds.append((theirs, f"{inside}/.claude/.credentials.json"))
    return None
