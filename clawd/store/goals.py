"""SQL of goals."""

from __future__ import annotations

from datetime import datetime

from psycopg.types.json import Jsonb

from clawd.model import Facts, Goal, Json
from clawd.store import moves
from clawd.store.rows import Db, columns, many, one

_COLUMNS = columns(Goal)


def add(
    db: Db,
    project: int,
    *,
    ident: str,
    title: str,
    body: str,
    section: str,
    digest: str,
    line: int,
    priority: int,
    why: str,
    actor: str = "clawd",
) -> Goal:
    """A goal that was just seen, with the first link of its chain."""
    with db.transaction():
        found = one(
            db,
            Goal,
            f"""insert into goal (project, ident, title, body, section, digest, line, priority)
                values (%s, %s, %s, %s, %s, %s, %s, %s) returning {_COLUMNS}""",
            (project, ident, title, body, section, digest, line, priority),
        )
        assert found is not None
        moves.tell(
            db, "goal", found.id, "see", why, actor=actor, facts=Facts(inputs={"line": line})
        )
    return found


def of_project(db: Db, project: int) -> list[Goal]:
    """Every goal of a project, in the roadmap's order."""
    return many(
        db,
        Goal,
        f"select {_COLUMNS} from goal where project = %s order by priority, id",
        (project,),
    )


def by_id(db: Db, goal: int) -> Goal | None:
    """The goal with this id."""
    return one(db, Goal, f"select {_COLUMNS} from goal where id = %s", (goal,))


def place(db: Db, goal: int, *, line: int, priority: int, section: str) -> None:
    """Where a goal stands in the file now; moving an item is no decision."""
    db.execute(
        "update goal set line = %s, priority = %s, section = %s where id = %s",
        (line, priority, section, goal),
    )


def plannable(db: Db, limit: int = 20) -> list[Goal]:
    """Goals that want a plan: seen and specified, or planning with no planner at work."""
    return many(
        db,
        Goal,
        f"""select {columns(Goal, "g")} from goal g join project p on p.id = g.project
            where p.state = 'active' and g.state in ('seen', 'planning')
              and (g.spec <> '{{}}' or g.state = 'planning')
              and (g.not_before is null or g.not_before <= clawd_now())
              and not exists (select from run r where r.goal = g.id and r.task is null
                and r.state in ('created', 'context_loaded', 'executing'))
            order by g.priority, g.id limit %s""",
        (limit,),
    )


def finished(db: Db) -> list[Goal]:
    """Planned goals whose every task has ended, at least one of them done."""
    return many(
        db,
        Goal,
        f"""select {columns(Goal, "g")} from goal g
            where g.state = 'planned' and g.reason <> 'reverted'
              and exists (select from task t where t.goal = g.id and t.state = 'done')
              and not exists (select from task t where t.goal = g.id
                and t.state not in ('done', 'cancelled', 'rolled_back'))""",
    )


def put_off(db: Db, goal: int, until: datetime, reason: str) -> None:
    """No planner before `until`: the wait is a fact of the row, not a state."""
    db.execute("update goal set not_before = %s, reason = %s where id = %s", (until, reason, goal))


def mark_ticked(db: Db, goal: int, ticked: bool) -> None:
    """How the goal's box stood when the file was last read."""
    db.execute("update goal set ticked = %s where id = %s", (ticked, goal))


def mark_marked(db: Db, goal: int, marked: bool) -> None:
    """What clawd's own commit made of the box; the operator's file may not have it yet."""
    db.execute("update goal set marked = %s where id = %s", (marked, goal))


def rename(db: Db, goal: int, ident: str) -> None:
    """The operator gave the goal an id of their own; it stays the same goal."""
    db.execute("update goal set ident = %s where id = %s", (ident, goal))


def reword(db: Db, goal: int, *, title: str, body: str, digest: str) -> None:
    """The goal's text as the file has it now."""
    db.execute(
        "update goal set title = %s, body = %s, digest = %s, spec = '{}' where id = %s",
        (title, body, digest, goal),
    )


def specify(db: Db, goal: int, spec: Json) -> None:
    """What the PM made of the goal."""
    db.execute("update goal set spec = %s where id = %s", (Jsonb(spec), goal))


def unspecified(db: Db, project: int, limit: int = 20) -> list[Goal]:
    """Goals the PM has not specified yet, in the roadmap's order."""
    return many(
        db,
        Goal,
        f"""select {_COLUMNS} from goal where project = %s and state = 'seen' and spec = '{{}}'
              and (not_before is null or not_before <= clawd_now())
            order by priority, id limit %s""",
        (project, limit),
    )
