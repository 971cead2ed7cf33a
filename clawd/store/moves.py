"""The moves: each one SQL function that writes state, fence, history, lineage and outbox."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from clawd.errors import Refused
from clawd.model import NO_FACTS, Facts, Goal, Json, Run, Task
from clawd.store.rows import Db, build


class Fenced(Refused):
    """The writer's fence is not the task's: somebody else holds it now."""


class IllegalMove(Refused):
    """The state machine has no such move from here."""


class Missing(Refused):
    """There is no such row."""


class NoRoom(Refused):
    """The agent is busy or an envelope has no room left."""


_REFUSALS: dict[str, type[Refused]] = {
    "CW001": Fenced,
    "CW002": IllegalMove,
    "CW003": Missing,
    "CW005": NoRoom,
}


@contextmanager
def refusals() -> Iterator[None]:
    """Turns the database's own refusals into ours; everything else passes."""
    try:
        yield
    except psycopg.Error as error:
        kind = _REFUSALS.get(error.sqlstate or "")
        if kind is None:
            raise
        raise kind(error.diag.message_primary or str(error)) from None


@dataclass(frozen=True, slots=True)
class Claim:
    """What a claim asks for: who takes which tasks, with which means, and why."""

    tasks: tuple[int, ...]
    role: str
    agent: int
    host: str
    lease: timedelta
    run: Json
    why: str
    actor: str = "scheduler"
    facts: Facts = NO_FACTS


def claim(db: Db, wanted: Claim) -> Run | None:
    """Takes the first of the wanted tasks that is still free; None when all are gone."""
    with refusals():
        row = db.execute(
            "select * from clawd_claim(%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                list(wanted.tasks),
                wanted.role,
                wanted.agent,
                wanted.host,
                wanted.lease,
                Jsonb(wanted.run),
                wanted.actor,
                wanted.why,
                Jsonb(wanted.facts.json()),
            ),
        ).fetchone()
    return None if row is None or row["id"] is None else build(Run, row)


def open_run(
    db: Db, project: int, goal: int | None, role: str, agent: int, host: str, run: Json
) -> Run:
    """A run for a goal or a roadmap, with its agent and its money taken."""
    with refusals():
        row = db.execute(
            "select * from clawd_open_run(%s, null, %s, %s, %s, %s, 0, %s)",
            (project, goal, role, agent, host, Jsonb(run)),
        ).fetchone()
    assert row is not None
    return build(Run, row)


def move_task(
    db: Db,
    task: int,
    event: str,
    *,
    why: str,
    actor: str = "clawd",
    fence: int | None = None,
    run: int | None = None,
    facts: Facts = NO_FACTS,
    **changes: Any,
) -> Task:
    """Moves a task; `changes` are columns that change with the move."""
    row = _call(
        db,
        "select * from clawd_move(%s, %s, %s, %s, %s, %s, %s, %s)",
        (task, event, fence, actor, why, _json(changes), Jsonb(facts.json()), run),
    )
    return build(Task, row)


def move_goal(
    db: Db,
    goal: int,
    event: str,
    *,
    why: str,
    actor: str = "clawd",
    run: int | None = None,
    facts: Facts = NO_FACTS,
    **changes: Any,
) -> Goal:
    """Moves a goal; `changes` are columns that change with the move."""
    row = _call(
        db,
        "select * from clawd_move_goal(%s, %s, %s, %s, %s, %s, %s)",
        (goal, event, actor, why, _json(changes), Jsonb(facts.json()), run),
    )
    return build(Goal, row)


def move_run(
    db: Db,
    run: int,
    event: str,
    *,
    why: str,
    actor: str = "clawd",
    facts: Facts = NO_FACTS,
    **changes: Any,
) -> Run:
    """Moves a run; ending it frees its agent and settles its money."""
    row = _call(
        db,
        "select * from clawd_move_run(%s, %s, %s, %s, %s, %s)",
        (run, event, actor, why, _json(changes), Jsonb(facts.json())),
    )
    return build(Run, row)


def tell(
    db: Db,
    kind: str,
    subject: int,
    action: str,
    why: str,
    *,
    actor: str = "clawd",
    facts: Facts = NO_FACTS,
    run: int | None = None,
) -> int:
    """A decision that moves no state, chained to its subject; returns the lineage id."""
    row = _call(
        db,
        "select clawd_tell(%s, %s, %s, %s, %s, %s, %s) as id",
        (kind, subject, actor, action, why, Jsonb(facts.json()), run),
    )
    return int(row["id"])


def heartbeat(db: Db, host: str, runs: Sequence[int], lease: timedelta) -> set[int]:
    """Renews the leases of this host's runs; returns the runs that still hold theirs."""
    rows = db.execute("select clawd_heartbeat(%s, %s, %s) as run", (host, list(runs), lease))
    return {row["run"] for row in rows}


def hint(db: Db, what: str = "") -> None:
    """Wakes whoever listens: one for a decision, not for a row; polling repairs a lost one."""
    db.execute("select pg_notify('clawd', %s)", (what,))


def _call(db: Db, query: str, params: tuple[Any, ...]) -> dict[str, Any]:
    with refusals():
        row = db.execute(query, params).fetchone()
    assert row is not None
    return row


def _json(changes: dict[str, Any]) -> Jsonb:
    return Jsonb({key: _plain(value) for key, value in changes.items()})


def _plain(value: Any) -> Any:
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return list(value) if isinstance(value, tuple) else value
