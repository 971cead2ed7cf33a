"""Read model of the live board: the whole, the tasks in sight, what happened last."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from clawd import machine
from clawd.store import views, views_queue
from clawd.store.rows import Db
from clawd.store.views import Overview
from clawd.store.views_queue import GoalLine, TaskLine


@dataclass(frozen=True, slots=True)
class Event:
    """One decision, as it is told."""

    at: datetime
    subject: str
    action: str
    why: str


@dataclass(frozen=True, slots=True)
class Board:
    """What the board shows."""

    overview: Overview
    goals: list[GoalLine]
    tasks: list[TaskLine]
    events: list[Event]


def board(db: Db, *, daemon: bool = True, tasks: int = 30, events: int = 8) -> Board:
    """Everything on the board, each part cut to what fits."""
    return Board(
        views.overview(db, daemon=daemon),
        views_queue.goals(db)[:20],
        _in_sight(db, tasks),
        last_events(db, events),
    )


def _in_sight(db: Db, limit: int) -> list[TaskLine]:
    """The open tasks, and as many of the newest ended ones as there is room for."""
    still_open = views_queue.tasks(db, limit=limit)
    room = limit - len(still_open)
    if room <= 0:
        return still_open
    ended = views_queue.tasks(db, states=machine.ENDED["task"], limit=room)
    return sorted([*still_open, *ended], key=lambda task: task.id)


def last_events(db: Db, limit: int) -> list[Event]:
    """The newest decisions that moved a task or goal, oldest of them first."""
    rows = db.execute(
        """select at, subject, action, why from (
             select l.id, h.at, l.subject, l.action, l.why
             from (select * from history where kind <> 'run' order by id desc limit %(n)s) h
             join lineage l on l.chain = h.kind || ':' || h.subject and l.id = h.lineage) x
           order by id""",
        {"n": limit},
    )
    return [Event(**row) for row in rows]
