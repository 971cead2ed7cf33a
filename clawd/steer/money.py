"""The operator's verb on money: raise or lower what an envelope holds."""

from __future__ import annotations

from clawd.errors import Refused, UsageError
from clawd.model import Approval
from clawd.policy.budget import MICROS, usd
from clawd.steer.words import OPERATOR, By, Outcome
from clawd.store import approvals, edits, ledger, moves, projects, tasks
from clawd.store.rows import Db

MOST_MICROS = 100_000 * MICROS


def set_day_budget(db: Db, period: str, limit_micros: int, *, by: By = OPERATOR) -> Outcome:
    """Today's limit for everything; what waited for money goes on."""
    _check(limit_micros)
    with db.transaction():
        freed = edits.hurry_the_broke(db)
        for project in projects.active(db):
            moves.tell(db, "project", project.id, "budget",
                       f"the operator set the limit of {period} to {usd(limit_micros)}",
                       actor="operator", facts=by.facts(limit_micros=limit_micros, day=period,
                                                        freed=freed))  # fmt: skip
        _settle_asks(db, None, by)
        # Last, as in every transaction: whoever claims holds its task and waits for the envelope.
        ledger.set_limit(db, "day", "all", period, limit_micros)
        moves.hint(db)
    return Outcome("budget", f"The limit of {period} is {usd(limit_micros)} now.", "day",
                   next="For every day: budget.day_usd in clawd.yaml")  # fmt: skip


def set_task_budget(db: Db, task: int, limit_micros: int, *, by: By = OPERATOR) -> Outcome:
    """One task's limit; a task that waited for money goes on."""
    _check(limit_micros)
    with db.transaction():
        if tasks.by_id(db, task) is None:
            raise moves.Missing(f"There is no task {task}.", "See them: clawd task list --all")
        moves.tell(db, "task", task, "budget", f"the operator set its limit to "
                   f"{usd(limit_micros)}", actor="operator",
                   facts=by.facts(limit_micros=limit_micros))  # fmt: skip
        edits.hurry_the_broke(db)
        _settle_asks(db, task, by)
        ledger.set_limit(db, "task", str(task), "", limit_micros)
        moves.hint(db)
    return Outcome("budget", f"Task {task} may cost {usd(limit_micros)} now.", "task", task)


def grant_ask(db: Db, asked: Approval) -> None:
    """Raises the envelope a request for money names; without a sum there is nothing to grant."""
    wanted = asked.subject.get("limit_micros")
    scope, scope_id = str(asked.subject.get("scope", "")), str(asked.subject.get("scope_id", ""))
    if not isinstance(wanted, int) or not scope:
        which = f"--task {asked.task}" if asked.task else "--day"
        raise Refused(
            "This request names no sum.", f"Set the limit yourself: clawd budget set {which} USD"
        )
    _check(wanted)
    ledger.set_limit(db, scope, scope_id, str(asked.subject.get("period", "")), wanted)


def _settle_asks(db: Db, task: int | None, by: By) -> None:
    for ask in edits.open_envelope_asks(db, task):
        asked = approvals.by_id(db, ask)
        if asked is None or not approvals.close(
            db, ask, "approved", by=by.name, channel=by.channel, answer="limit set"
        ):
            continue
        found = tasks.by_id(db, asked.task) if asked.task is not None else None
        if found is not None and found.state == "waiting":
            event = {"review": "resume_review", "merge": "resume_merge"}.get(
                found.return_to, "resume_dev"
            )
            moves.move_task(db, found.id, event, why="the operator raised the limit",
                            actor="operator", facts=by.facts(approval=ask))  # fmt: skip


def _check(limit_micros: int) -> None:
    if not 0 <= limit_micros <= MOST_MICROS:
        raise UsageError(
            f"{usd(limit_micros)} is no limit.", f"Give 0 to {MOST_MICROS // MICROS} USD."
        )
