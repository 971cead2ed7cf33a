"""Starts an agent's process for a run, and closes the run's row when the process has ended."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from clawd import share
from clawd.adapters import crash
from clawd.adapters.claude import Order
from clawd.model import Agent, Facts, Project, Role, Run
from clawd.pipeline import breaking, equip, standstill
from clawd.pipeline.desk import Desk
from clawd.policy import outcome as outcomes
from clawd.policy.facts import StreamFacts
from clawd.policy.failure import Reason
from clawd.policy.outcome import Ending, Kind, Outcome
from clawd.running import launch, stream
from clawd.running.records import Result, Why
from clawd.store import agents, ledger, moves
from clawd.store.rows import Db

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
    binary = equip.program(desk)
    role_text = (share.path("prompts") / f"{run.role}.md").read_text()
    prompt_hash = hashlib.sha256(f"{role_text}\0{prompt}".encode()).hexdigest()
    order = Order(
        role=run.role,
        model=run.model,
        session=run.session,
        role_file=equip.ROLE_INSIDE,
        resume=run.resumes is not None,
        effort=desk.config.agents.of(run.role).effort,
        turns=int(run.limits["turns"]),
        budget_micros=run.reserved_micros,
        schema=schema,
    )
    request = equip.launch(desk, project, run, binary, order, prompt, role_text, work, read_only)
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
    breaking.after(db, run, outcome.reason, done.now)
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
