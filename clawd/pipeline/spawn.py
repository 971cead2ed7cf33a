"""Starts an agent's process for a run, and closes the run's row when the process has ended."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from clawd import share
from clawd.adapters import cage, claude, crash
from clawd.adapters.cage import Bind, CageSpec, Network
from clawd.adapters.claude import Binary, Order
from clawd.adapters.credential import read_credential
from clawd.config import Login, Sandbox
from clawd.errors import ClawdError
from clawd.model import Agent, Facts, Project, Role, Run
from clawd.pipeline import standstill, workspace
from clawd.pipeline.desk import Desk
from clawd.pipeline.layer import Layer, SetupFailed, ensure
from clawd.pipeline.standstill import CannotStart
from clawd.policy import outcome as outcomes
from clawd.policy.facts import StreamFacts
from clawd.policy.failure import Reason
from clawd.policy.outcome import Ending, Kind, Outcome
from clawd.policy.price import keeper_prices
from clawd.running import launch, stream
from clawd.running.records import Launch, Limits, Result, Secret, Why
from clawd.store import agents, ledger, moves
from clawd.store.rows import Db

PROGRAM_INSIDE = f"{cage.TOOLS_INSIDE}/claude"
ROLE_INSIDE = f"{cage.TOOLS_INSIDE}/role.md"
RUN_EVENTS = {
    Kind.COMPLETED: "complete",
    Kind.ASK: "complete",
    Kind.CANCELLED: "cancel",
    Kind.FENCED: "fence",
    Kind.LOST: "lose",
}


@dataclass(frozen=True, slots=True)
class Finished:
    """An ended run: the keeper's word, the stream's facts, the last of stderr."""

    result: Result
    facts: StreamFacts
    stderr: str
    now: datetime
    pauses: int = 0  # runs in a row before it that ended in a wait

    @property
    def ended_by_itself(self) -> bool:
        """Whether nobody of us ended it: only then is what it left an answer."""
        return self.result.why is Why.EXIT


def start(
    desk: Desk,
    project: Project,
    run: Run,
    prompt: str,
    work: Path,
    *,
    base: str = "",
    kept: str = "",
    schema: Mapping[str, Any] | None = None,
    read_only: bool = False,
) -> None:
    """Writes the decision, then acts: context_loaded, running, and only then the process."""
    binary = _program(desk)
    role_text = (share.path("prompts") / f"{run.role}.md").read_text()
    prompt_hash = hashlib.sha256(f"{role_text}\0{prompt}".encode()).hexdigest()
    order = Order(
        role=run.role,
        model=run.model,
        session=run.session,
        role_file=ROLE_INSIDE,
        resume=run.resumes is not None,
        effort=desk.config.agents.of(run.role).effort,
        turns=int(run.limits["turns"]),
        budget_micros=run.reserved_micros,
        schema=schema,
    )
    request = _launch(desk, project, run, binary, order, prompt, role_text, work, read_only)
    crash.point("spawn.before")
    with desk.db() as db, db.transaction():
        moves.move_run(
            db, run.id, "load", why=f"briefed in {len(prompt)} characters",
            facts=Facts({"base": base}, prompt_hash=prompt_hash), marker=request.marker,
            folder=str(request.folder), cli_version=binary.version, cli_sha=binary.sha256,
            prompt_hash=prompt_hash, base_oid=base, limits={**run.limits, "kept": kept},
        )  # fmt: skip
        if run.task is not None and run.role is Role.DEV:
            moves.move_task(
                db, run.task, "start", why=f"run {run.id} starts", fence=run.fence, run=run.id
            )
    crash.point("spawn.mid")
    launch.start(request)
    crash.point("spawn.after")


def _launch(
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
    folder = desk.run_folder(run.id)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "role.md").write_text(role_text)
    home = workspace.home_path(desk, run)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    caged = desk.config.sandbox is not Sandbox.NONE
    if caged and not cage.available():
        missing = ClawdError(
            "There is no cage on this machine, so no agent is started.",
            "Install bubblewrap, or set `sandbox: none` in clawd.yaml and accept the risk.",
        )
        raise CannotStart(Reason.CAGE_FAILED, missing)
    program = str(_program_inside(binary)) if caged else str(binary.path)
    role_file = ROLE_INSIDE if caged else str(folder / "role.md")
    secret, base_url = _login(desk)
    client = desk.config.claude
    env = claude.environment(
        base_url, retries=client.retries, timeout_ms=1000 * client.api_timeout_s
    )
    layer = _layer(desk, project, run)
    spec = CageSpec(
        workspace=work,
        home=home,
        network=Network(run.network),
        read_only=(
            *_program_binds(binary),
            (folder / "role.md", ROLE_INSIDE),
            *_inherited_login(desk, home),
            *layer.binds(work),
        ),
        workspace_read_only=read_only,
    )
    limits = desk.config.limits
    return Launch(
        folder=folder,
        marker=f"{desk.mark}-{run.id}-{run.fence}",
        argv=claude.invocation(program, binary.version, replace(order, role_file=role_file)),
        env=env if caged else claude.bare_environment(os.environ, home, env),
        cwd=work,
        stdin_text=prompt,
        cage=spec if caged else None,
        limits=Limits(
            wall_s=60.0 * float(run.limits["minutes"]),
            idle_s=float(limits.idle_s),
            turns=int(run.limits["turns"]) + 1,
            money_micros=run.reserved_micros,
            stream_bytes=limits.stream_mb * 1_000_000,
            stderr_bytes=limits.stderr_mb * 1_000_000,
            file_bytes=limits.file_mb * 1_000_000,
        ),
        prices=keeper_prices(),
        secret=secret,
        freeze_file=desk.freeze_file,
        beat_file=desk.beat_file,
        no_daemon_s=float(limits.no_daemon_s),
        wake_socket=desk.wake_socket,
    )


def _program(desk: Desk) -> Binary:
    client = desk.config.claude
    try:
        return claude.find_binary(client.path or None, os.environ, client.minimum)
    except claude.Outdated as error:
        raise CannotStart(Reason.CLI_OUTDATED, error) from error
    except ClawdError as error:
        raise CannotStart(Reason.CLI_MISSING, error) from error


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


def finished(desk: Desk, run: Run, result: Result) -> Finished:
    """Reads an ended run's folder."""
    folder = desk.run_folder(run.id)
    facts = stream.read(folder / "stream.jsonl")
    said = launch.tail(folder / "stderr.txt", 4_000)
    with desk.db() as db:
        return Finished(result, facts, said, now(db), standstill.failures_in_a_row(db))


def judge(
    done: Finished,
    *,
    wants_schema: bool = False,
    has_candidate: bool | None = None,
    asks: bool = False,
    capped_by_envelope: bool = False,
) -> Outcome:
    """The outcome by the rules of policy/outcome.py."""
    ending = Ending(done.result.rc, done.result.why, done.result.reason, done.stderr)
    return outcomes.judge(
        done.facts,
        ending,
        now=done.now,
        wants_schema=wants_schema,
        has_candidate=has_candidate,
        asks=asks,
        capped_by_envelope=capped_by_envelope,
        yields=done.pauses,
    )


def close(db: Db, run: Run, done: Finished, outcome: Outcome) -> Run:
    """Books the money and ends the run's row; the agent and the reservation are free again."""
    entries = [
        ledger.Entry(
            spend.request_id,
            spend.model,
            asdict(spend.usage),
            spend.cost.micros,
            "estimate" if spend.estimated else "stream",
        )
        for spend in done.facts.spends
    ]
    unseen = done.result.cost_micros - sum(entry.micros for entry in entries)
    if unseen > 0:  # the keeper counted more than the stream still shows
        entries.append(ledger.Entry("keeper", done.facts.model, {}, unseen, "estimate"))
    spent = ledger.book(db, run.id, entries)
    reason = outcome.reason.value if outcome.reason else ""
    standstill.after(db, run, outcome)
    resumable = done.facts.delivered and not (done.facts.compacted or outcome.fresh_session)
    return moves.move_run(
        db,
        run.id,
        RUN_EVENTS.get(outcome.kind, "fail"),
        why=outcome.detail or reason or "ended well",
        facts=Facts(
            {"rc": done.result.rc, "why": done.result.why, "swept": done.result.swept},
            model=done.facts.model,
        ),
        reason=reason,
        detail=outcome.detail,
        charged=outcome.charged,
        spent_micros=spent,
        turns=done.facts.turns,
        doing=done.facts.last_line,
        session=run.session if resumable else "",
        model=done.facts.model or run.model,
        **_receipt(run, done),  # type: ignore[arg-type]
    )


def _receipt(run: Run, done: Finished) -> dict[str, datetime]:
    """When it started and took the prompt, for a run nobody watched while it lived."""
    if not done.result.started:
        return {}
    started = datetime.fromtimestamp(done.result.started_at, done.now.tzinfo)
    receipt = {"started_at": run.started_at or started}
    if done.facts.delivered:
        receipt["delivered_at"] = run.delivered_at or started
    return receipt


def agent_of(db: Db, run: Run) -> Agent:
    """The agent a run belongs to."""
    found = agents.by_id(db, run.agent)
    assert found is not None  # noqa: S101 - a run's agent is never deleted
    return found


def now(db: Db) -> datetime:
    """The database's time."""
    row = db.execute("select clawd_now() as now").fetchone()
    assert row is not None  # noqa: S101 - a select of one value returns its row
    moment: datetime = row["now"]
    return moment


def later(db: Db, seconds: float) -> datetime:
    """The database's time, some seconds on."""
    return now(db) + timedelta(seconds=seconds)


def fenced(why: str) -> Outcome:
    """The outcome of a run whose task is somebody else's by now."""
    return Outcome(Kind.FENCED, Reason.FENCED, why)
