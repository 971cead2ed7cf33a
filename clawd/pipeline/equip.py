"""What a run's process is given: the program, the login, the cage, its limits."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from clawd.adapters import cage, claude
from clawd.adapters.cage import Bind, CageSpec, Network
from clawd.adapters.claude import Binary, Order
from clawd.adapters.credential import read_credential
from clawd.config import Login, Sandbox
from clawd.errors import ClawdError
from clawd.model import Project, Role, Run
from clawd.pipeline import workspace
from clawd.pipeline.desk import Desk
from clawd.pipeline.layer import Layer, SetupFailed, ensure
from clawd.pipeline.standstill import CannotStart
from clawd.policy.failure import Reason
from clawd.policy.price import keeper_prices
from clawd.running.records import Launch, Limits, Secret

PROGRAM_INSIDE = f"{cage.TOOLS_INSIDE}/claude"
ROLE_INSIDE = f"{cage.TOOLS_INSIDE}/role.md"


def program(desk: Desk) -> Binary:
    """The `claude` that is found here; without one no agent can start."""
    client = desk.config.claude
    try:
        return claude.find_binary(client.path or None, os.environ, client.minimum)
    except claude.Outdated as error:
        raise CannotStart(Reason.CLI_OUTDATED, error) from error
    except ClawdError as error:
        raise CannotStart(Reason.CLI_MISSING, error) from error


def launch(
    desk: Desk,
    project: Project,
    run: Run,
    binary: Binary,
    order: Order,
    prompt: str,
    role_text: str,
    work: Path,
    read_only: bool,
) -> Launch:
    """Everything the keeper needs to know, the order completed by the paths inside the cage."""
    folder = desk.run_folder(run.id)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "role.md").write_text(role_text)
    home = workspace.home_path(desk, run)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    caged = _is_caged(desk)
    path = str(_program_inside(binary)) if caged else str(binary.path)
    role_file = ROLE_INSIDE if caged else str(folder / "role.md")
    secret, base_url = _login(desk)
    client = desk.config.claude
    env = claude.environment(
        base_url, retries=client.retries, timeout_ms=1000 * client.api_timeout_s
    )
    spec = CageSpec(
        workspace=work,
        home=home,
        network=Network(run.network),
        read_only=_binds(desk, project, run, binary, work, home),
        workspace_read_only=read_only,
    )
    return Launch(
        folder=folder,
        marker=f"{desk.mark}-{run.id}-{run.fence}",
        argv=claude.invocation(path, binary.version, replace(order, role_file=role_file)),
        env=env if caged else claude.bare_environment(os.environ, home, env),
        cwd=work,
        stdin_text=prompt,
        cage=spec if caged else None,
        limits=_limits(desk, run),
        prices=keeper_prices(),
        secret=secret,
        freeze_file=desk.freeze_file,
        beat_file=desk.beat_file,
        no_daemon_s=float(desk.config.limits.no_daemon_s),
        wake_socket=desk.wake_socket,
    )


def _is_caged(desk: Desk) -> bool:
    if desk.config.sandbox is Sandbox.NONE:
        return False
    if cage.available():
        return True
    missing = ClawdError(
        "There is no cage on this machine, so no agent is started.",
        "Install bubblewrap, or set `sandbox: none` in clawd.yaml and accept the risk.",
    )
    raise CannotStart(Reason.CAGE_FAILED, missing)


def _limits(desk: Desk, run: Run) -> Limits:
    limits = desk.config.limits
    return Limits(
        wall_s=60.0 * float(run.limits["minutes"]),
        idle_s=float(limits.idle_s),
        turns=int(run.limits["turns"]) + 1,
        money_micros=run.reserved_micros,
        stream_bytes=limits.stream_mb * 1_000_000,
        stderr_bytes=limits.stderr_mb * 1_000_000,
        file_bytes=limits.file_mb * 1_000_000,
    )


def _binds(
    desk: Desk, project: Project, run: Run, binary: Binary, work: Path, home: Path
) -> tuple[Bind, ...]:
    return (
        *_program_binds(binary),
        (desk.run_folder(run.id) / "role.md", ROLE_INSIDE),
        *_inherited_login(desk, home),
        *_layer(desk, project, run).binds(work),
    )


def _program_inside(binary: Binary) -> Path:
    """A script keeps its own place, since its neighbours are part of it."""
    return binary.path if binary.script else Path(PROGRAM_INSIDE)


def _program_binds(binary: Binary) -> tuple[Bind, ...]:
    if binary.script:
        return ((binary.path.parent, str(binary.path.parent)),)
    return ((binary.path, PROGRAM_INSIDE),)


def _login(desk: Desk) -> tuple[Secret | None, str | None]:
    if desk.config.login is not Login.TOKEN:
        return None, None
    try:
        known = read_credential(desk.login_file)
    except ClawdError as error:
        raise CannotStart(Reason.NOT_LOGGED_IN, error) from error
    return Secret(known.file, known.key, known.descriptor_variable), known.base_url


def _inherited_login(desk: Desk, home: Path) -> tuple[Bind, ...]:
    """`login: inherit` shows the operator's credential file to the run, read-only."""
    theirs = Path.home() / ".claude" / ".credentials.json"
    if desk.config.login is not Login.INHERIT or not theirs.exists():
        return ()
    inside = cage.home_inside(CageSpec(workspace=home, home=home))
    return ((theirs, f"{inside}/.claude/.credentials.json"),)


def _layer(desk: Desk, project: Project, run: Run) -> Layer:
    if run.role not in (Role.DEV, Role.QA):
        return Layer()
    hub = desk.hub(project)
    layer = ensure(desk, project, hub.resolve(project.main_ref))
    if isinstance(layer, SetupFailed):
        raise ClawdError("The project's set-up command failed.", "See `clawd doctor`.")
    return layer
