"""SQL of tasks, their contracts and their dependencies."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from psycopg.types.json import Jsonb

from clawd.model import NO_FACTS, Answer, Clause, Contract, Facts, Task
from clawd.policy.schedule import Live
from clawd.store import moves
from clawd.store.rows import Db, columns, many, one

_COLUMNS = columns(Task)


def add(
    db: Db,
    project: int,
    *,
    title: str,
    contract: Contract,
    why: str,
    goal: int | None = None,
    actor: str = "clawd",
    priority: int = 100,
    needs: Sequence[int] = (),
    kind: str = "code",
    size_minutes: int = 20,
    risk: str = "low",
    difficulty: str = "normal",
    idem_key: str | None = None,
    mends: bool = False,
    facts: Facts = NO_FACTS,
) -> Task:
    """A new task with its first contract; the same idempotency key gives the same task."""
    with db.transaction():
        row = db.execute(
            """insert into task (project, goal, kind, title, priority, scope, size_minutes, risk,
                 difficulty, idem_key, mends)
               values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
               on conflict (idem_key) where idem_key is not null do nothing returning id""",
            (
                *(project, goal, kind, title, priority, list(contract.scope)),
                *(size_minutes, risk, difficulty, idem_key, mends),
            ),
        ).fetchone()
        if row is None:
            known = one(db, Task, f"select {_COLUMNS} from task where idem_key = %s", (idem_key,))
            assert known is not None
            return known
        task = int(row["id"])
        _write_contract(db, task, 1, contract, actor)
        _depend(db, task, needs)
        moves.tell(db, "task", task, "add", why, actor=actor, facts=facts)
        found = by_id(db, task)
    assert found is not None
    return found


def by_id(db: Db, task: int) -> Task | None:
    """The task with this id."""
    return one(db, Task, f"select {_COLUMNS} from task where id = %s", (task,))


def ready(db: Db, limit: int = 20) -> list[Task]:
    """The first ready tasks of every project that may work: a long queue hides no other's."""
    return many(
        db,
        Task,
        f"""select {columns(Task, "t")} from project p cross join lateral (
              select * from task k where k.project = p.id and k.state = 'backlog'
                and k.deps_open = 0 and k.leased_by_run is null
                and (k.not_before is null or k.not_before <= clawd_now())
              order by k.front desc, k.priority, k.id limit %(limit)s) t
            where p.state = 'active' and (p.baseline_verdict = 'green'
                or (t.mends and p.baseline_verdict in ('red', 'flaky')))
              and not exists (select from pause z where (z.until is null or z.until > clawd_now())
                and (z.scope = 'all' or (z.scope = 'project' and z.key = p.slug)))
            order by t.front desc, t.priority, t.id""",
        {"limit": limit},
    )


def unchecked(db: Db, limit: int = 20) -> list[Task]:
    """Tasks in review whose candidate the daemon has not checked yet."""
    return _reviewed(db, "due", limit)


def reviewable(db: Db, limit: int = 20) -> list[Task]:
    """Tasks in review whose candidate passed the check and that no reviewer holds."""
    return _reviewed(db, "green", limit)


def _reviewed(db: Db, check_state: str, limit: int) -> list[Task]:
    return many(
        db,
        Task,
        f"""select {columns(Task, "t")} from task t join candidate c on c.id = t.candidate
            where t.state = 'review' and t.leased_by_run is null and c.check_state = %s
              and (t.not_before is null or t.not_before <= clawd_now())
            order by t.priority, t.id limit %s""",
        (check_state, limit),
    )


def in_state(db: Db, *states: str, limit: int = 500) -> list[Task]:
    """Tasks in any of these states, most urgent first."""
    return many(
        db,
        Task,
        f"""select {_COLUMNS} from task where state = any (%s)
            order by front desc, priority, id limit %s""",
        (list(states), limit),
    )


def merging(db: Db, project: int, limit: int = 200) -> list[Task]:
    """A project's cars in the order they came to the train."""
    return many(
        db,
        Task,
        f"""select {_COLUMNS} from task where state = 'merging' and project = %s
            order by queued_at, id limit %s""",
        (project, limit),
    )


def of_goal(db: Db, goal: int) -> list[Task]:
    """Every task cut from a goal, in order."""
    return many(db, Task, f"select {_COLUMNS} from task where goal = %s order by id", (goal,))


def open_of_project(db: Db, project: int) -> list[Task]:
    """Every task of a project that has not ended."""
    return many(
        db,
        Task,
        f"""select {_COLUMNS} from task where project = %s
            and state not in ('done', 'cancelled', 'rolled_back') order by id""",
        (project,),
    )


def lapsed(db: Db, host: str, grace: Any) -> list[Task]:
    """Leases that ran out: this host's at once, another host's after the grace."""
    return many(
        db,
        Task,
        f"""select {_COLUMNS} from task where state in ('claimed', 'running', 'review')
              and leased_by_run is not null
              and lease_until < clawd_now() - case when host = %s then interval '0' else %s end""",
        (host, grace),
    )


def needs_of(db: Db, task: int) -> list[Task]:
    """What a task waits for."""
    return many(
        db,
        Task,
        f"""select {columns(Task, "t")} from task_dep d join task t on t.id = d.needs
            where d.task = %s order by t.id""",
        (task,),
    )


def contract(db: Db, task: int, version: int | None = None) -> Contract:
    """A task's contract: the newest, or the version a run was given."""
    row = db.execute(
        """select body from contract where task = %(task)s
             and version = coalesce(%(version)s, (select contract_version from task
               where id = %(task)s))""",
        {"task": task, "version": version},
    ).fetchone()
    if row is None:
        raise moves.Missing(f"Task {task} has no contract {version or ''}.".replace(" .", "."))
    return read_contract(row["body"])


def amend(db: Db, task: int, body: Contract, by: str) -> int:
    """Writes the next contract version; the move that follows makes it the task's own."""
    row = db.execute(
        "select coalesce(max(version), 0) + 1 as next from contract where task = %s", (task,)
    ).fetchone()
    assert row is not None
    _write_contract(db, task, row["next"], body, by)
    return int(row["next"])


def drop_gone_needs(db: Db, task: int) -> None:
    """Lets a task go on without what was cancelled or rolled back."""
    db.execute(
        """with gone as (delete from task_dep d using task n where d.task = %(task)s
             and n.id = d.needs and n.state in ('cancelled', 'rolled_back') and not d.met
             returning 1)
           update task set deps_open = deps_open - (select count(*) from gone)
           where id = %(task)s""",
        {"task": task},
    )


def read_contract(body: dict[str, Any]) -> Contract:
    """A contract from its stored form."""
    return Contract(
        spec=body["spec"],
        acceptance=tuple(Clause(**clause) for clause in body["acceptance"]),
        scope=tuple(body["scope"]),
        may_change=tuple(body["may_change"]),
        answers=tuple(Answer(**answer) for answer in body["answers"]),
    )


def _write_contract(db: Db, task: int, version: int, body: Contract, by: str) -> None:
    stored = dataclasses.asdict(body)
    digest = hashlib.sha256(json.dumps(stored, sort_keys=True).encode()).hexdigest()
    db.execute(
        "insert into contract (task, version, body, digest, by) values (%s, %s, %s, %s, %s)",
        (task, version, Jsonb(stored), digest, by),
    )


def _depend(db: Db, task: int, needs: Sequence[int]) -> None:
    for need in dict.fromkeys(needs):
        db.execute(
            """insert into task_dep (task, needs, met) select %s, id,
                 state = 'done' or (state = 'verifying' and kind = 'code')
               from task where id = %s""",
            (task, need),
        )
    db.execute(
        """update task set deps_open = (select count(*) from task_dep
             where task = %(task)s and not met) where id = %(task)s""",
        {"task": task},
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Arrival:
    """How a task came to where it is: the move, its reason and what it rested on."""

    event: str
    reason: str
    why: str
    run: int | None
    inputs: dict[str, Any]


def arrival(db: Db, task: int, state: str = "backlog") -> Arrival | None:
    """The last move that brought a task into `state`."""
    return one(
        db,
        Arrival,
        """select h.event, h.reason, l.why, h.run, l.inputs from history h
           join lineage l on l.id = h.lineage
           where h.kind = 'task' and h.subject = %s and h.to_state = %s
           order by h.id desc limit 1""",
        (task, state),
    )


def under_way(db: Db) -> list[Live]:
    """Tasks whose work is running or has not landed yet: the files they touch are taken."""
    rows = db.execute(
        """select id, project, scope, state in ('claimed', 'running') as working from task
           where state in ('claimed', 'running', 'review', 'merging')"""
    )
    return [Live(row["id"], row["project"], tuple(row["scope"]), row["working"]) for row in rows]
