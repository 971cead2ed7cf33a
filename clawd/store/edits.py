"""SQL of what an operator changes where no state moves: contracts, order, waits, answers."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg.types.json import Jsonb

from clawd.model import Goal, Json, LandingRow, Project, Task
from clawd.store.rows import Db, columns, many, one


def lock_task(db: Db, task: int) -> Task | None:
    """The task, held until the transaction ends."""
    query = f"select {columns(Task)} from task where id = %s for no key update"
    return one(db, Task, query, (task,))


def lock_goal(db: Db, goal: int) -> Goal | None:
    """The goal, held until the transaction ends."""
    query = f"select {columns(Goal)} from goal where id = %s for no key update"
    return one(db, Goal, query, (goal,))


def adopt_contract(
    db: Db, task: int, version: int, *, title: str, scope: Sequence[str], priority: int
) -> None:
    """Makes a contract version the task's own where no move carries it."""
    db.execute(
        """update task set contract_version = %s, title = %s, scope = %s, priority = %s,
             changed_at = clawd_now() where id = %s""",
        (version, title, list(scope), priority, task),
    )


def check_again(db: Db, candidate: int) -> None:
    """A candidate met by a new contract has not been checked against it."""
    db.execute(
        "update candidate set check_state = 'due', checks = '[]' where id = %s", (candidate,)
    )


def hurry(db: Db, task: int) -> None:
    """A waiting task may start at once."""
    db.execute("update task set not_before = null where id = %s", (task,))


def hurry_the_broke(db: Db) -> list[int]:
    """Tasks that were put off because an envelope was empty may start at once."""
    rows = db.execute(
        """update task set not_before = null where state = 'backlog'
             and reason = 'envelope_empty' and not_before is not null returning id"""
    )
    return sorted(row["id"] for row in rows)


def hurry_the_refused(db: Db, reasons: list[str]) -> None:
    """Tasks and goals that wait for account or machine may start at once."""
    for table in ("task", "goal"):
        db.execute(
            f"""update {table} set not_before = null
                where reason = any (%s) and not_before is not null""",
            (reasons,),
        )


def keep_answers(db: Db, goal: int, spec: Json) -> None:
    """What the operator answered, kept with the goal."""
    db.execute("update goal set spec = %s where id = %s", (Jsonb(spec), goal))


def still_open(db: Db, *, task: int | None = None, goal: int | None = None) -> int:
    """How many questions about a task or a goal wait for a person."""
    row = db.execute(
        """select count(*) as n from approval where state = 'open'
             and task is not distinct from %s and goal is not distinct from %s""",
        (task, goal),
    ).fetchone()
    assert row is not None
    return int(row["n"])


def open_envelope_asks(db: Db, task: int | None) -> list[int]:
    """Requests for money that a raised limit answers, of one task or of all."""
    rows = db.execute(
        """select id from approval where state = 'open' and kind = 'envelope'
             and (%(task)s::bigint is null or task = %(task)s) order by id""",
        {"task": task},
    )
    return [row["id"] for row in rows]


def is_landing(db: Db, task: int) -> bool:
    """Whether main is being moved for a task right now."""
    found = db.execute(
        "select from landing where task = %s and state = 'intent'", (task,)
    ).fetchone()
    return found is not None


def landed(db: Db, task: int) -> LandingRow | None:
    """The landing of a task that stands: not void, not undone since."""
    return one(
        db,
        LandingRow,
        f"""select {columns(LandingRow, "l")} from landing l
            where l.task = %(task)s and l.kind = 'land' and l.state = 'landed'
              and not exists (select from landing r where r.task = %(task)s
                and r.kind = 'revert' and r.state = 'landed')""",
        {"task": task},
    )


def leased(db: Db) -> list[Task]:
    """Every task an agent holds now."""
    return many(
        db,
        Task,
        f"""select {columns(Task)} from task where leased_by_run is not null
              and state in ('claimed', 'running', 'review') order by id""",
    )


def projects_by_path(db: Db) -> list[Project]:
    """Projects under care, the deepest path first."""
    return many(
        db,
        Project,
        f"select {columns(Project)} from project where state = 'active' order by length(path) desc",
    )
