"""How a task that cannot go on moves: another try, a bounce, a wait, or parked with the story."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from clawd.model import NO_FACTS, Facts, Project, Run, Task
from clawd.pipeline import report
from clawd.pipeline.desk import Desk
from clawd.policy.failure import REASONS, Owner, Reason
from clawd.store import approvals, moves, runs, tasks
from clawd.store.rows import Db

# A lost run is nobody's try, so only this ends a task whose runs are lost again and again.
LOST_IN_A_ROW = 6


def charge(
    desk: Desk,
    db: Db,
    project: Project,
    task: Task,
    event: str,
    reason: Reason,
    why: str,
    *,
    fence: int | None,
    run: int | None,
    facts: Facts = NO_FACTS,
    **changes: Any,
) -> Task:
    """`fail` or `check_red`: one more try, or parked when this was the last."""
    if task.tries + 1 >= desk.config.tries:
        story = f"{task.tries + 1} tries failed, the last: {why}"
        return park(
            db, project, task, Reason.TRIES, story, fence=fence, run=run, facts=facts, **changes
        )
    return moves.move_task(
        db,
        task.id,
        event,
        why=why,
        fence=fence,
        run=run,
        facts=facts,
        reason=reason.value,
        **changes,
    )


def bounce(
    desk: Desk,
    db: Db,
    project: Project,
    task: Task,
    reason: Reason,
    why: str,
    facts: Facts,
) -> Task:
    """Back to the front of the backlog, charged to nobody; five times at most."""
    if task.bounces + 1 > desk.config.bounces:
        story = f"sent back by the train {task.bounces} times, the last: {why}"
        return park(db, project, task, Reason.BOUNCES, story, fence=None, run=None, facts=facts)
    return moves.move_task(
        db, task.id, "bounce", why=why, actor="train", facts=facts, reason=reason.value, front=True
    )


def is_lost_too_often(db: Db, run: Run) -> bool:
    """Whether every one of a task's last runs was lost: what kills its keeper is not bad luck."""
    mine = [each for each in runs.of_task(db, run.task or 0) if each.role == run.role]
    last = [each.state for each in mine if each.ended_at][-LOST_IN_A_ROW:]
    return len(last) == LOST_IN_A_ROW and set(last) == {"lost"}


def candidate_lost(desk: Desk, project: Project, task: Task) -> None:
    """The hub does not have a task's candidate any more: a developer makes it again."""
    with desk.db() as db, db.transaction():
        fresh = tasks.by_id(db, task.id)
        if fresh is None or fresh.state not in ("review", "merging"):
            return
        if (fresh.candidate, fresh.fence) != (task.candidate, task.fence):
            return
        why = "the hub does not have its candidate any more"
        bounce(desk, db, project, fresh, Reason.LOST, why, Facts({"candidate": fresh.candidate}))
        moves.hint(db)


def park(
    db: Db,
    project: Project,
    task: Task,
    reason: Reason,
    why: str,
    *,
    fence: int | None = None,
    run: int | None = None,
    facts: Facts = NO_FACTS,
    **changes: Any,
) -> Task:
    """No timer can help: the operator gets the story and what can be done."""
    known = REASONS[reason]
    remedy = (known if known.owner is Owner.OPERATOR else REASONS[Reason.TRIES]).remedy
    parked = moves.move_task(
        db,
        task.id,
        "give_up",
        why=why,
        fence=fence,
        run=run,
        facts=facts,
        reason=reason.value,
        action=f"{remedy} (clawd why {task.id})",
        owner=Owner.OPERATOR.value,
        **changes,
    )
    approvals.void_of_task(db, task.id)
    report.parked(db, project, parked)
    return parked


def put_back(
    db: Db,
    task: Task,
    reason: Reason,
    why: str,
    *,
    fence: int | None,
    run: int | None,
    not_before: datetime | None = None,
    event: str = "yield",
    facts: Facts = NO_FACTS,
) -> Task:
    """Work that stopped through nobody's fault: no try is charged, a timer brings it back."""
    return moves.move_task(
        db,
        task.id,
        event,
        why=why,
        fence=fence,
        run=run,
        facts=facts,
        reason=reason.value,
        owner=REASONS[reason].owner.value,
        not_before=not_before,
    )
