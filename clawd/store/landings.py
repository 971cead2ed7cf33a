"""SQL of landings and of what tests said of a tree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from clawd.model import LandingRow
from clawd.store import moves
from clawd.store.rows import Db, columns, many, one

_COLUMNS = columns(LandingRow)


@dataclass(frozen=True, slots=True)
class TestVerdict:
    """What the tests said of one tree with one command in one layer."""

    __test__ = False

    verdict: str
    n: int
    rc: int | None
    wall_ms: int
    log: str
    output: str


def intend(
    db: Db,
    *,
    project: int,
    task: int,
    kind: str,
    candidate: int | None,
    old_main: str,
    new_main: str,
    car: str,
    tree: str,
    epoch: int,
) -> LandingRow:
    """The intent to move main, committed before main moves: the point of no return."""
    found = one(
        db,
        LandingRow,
        f"""insert into landing (project, task, kind, candidate, old_main, new_main, car, tree,
              epoch) values (%s, %s, %s, %s, %s, %s, %s, %s, %s) returning {_COLUMNS}""",
        (project, task, kind, candidate, old_main, new_main, car, tree, epoch),
    )
    assert found is not None
    return found


def settle(db: Db, landing: int, state: str) -> None:
    """What became of an intent: landed or void."""
    db.execute(
        """update landing set state = %s,
             landed_at = case when %s = 'landed' then clawd_now() end
           where id = %s and state in ('asked', 'intent')""",
        (state, state, landing),
    )


def intents(db: Db, project: int) -> list[LandingRow]:
    """Intents that are neither landed nor void: what a crash left open."""
    return many(
        db,
        LandingRow,
        f"""select {_COLUMNS} from landing where project = %s and state = 'intent' order by id""",
        (project,),
    )


def of_task(db: Db, task: int) -> list[LandingRow]:
    """Every landing of a task, reverts included."""
    return many(
        db, LandingRow, f"select {_COLUMNS} from landing where task = %s order by id", (task,)
    )


def any_of(db: Db, project: int) -> bool:
    """Whether anything has landed in a project."""
    found = db.execute(
        "select from landing where project = %s and state = 'landed' limit 1", (project,)
    )
    return found.fetchone() is not None


def remember_tests(
    db: Db, project: int, tree: str, cmd_digest: str, env_digest: str, seen: TestVerdict
) -> int:
    """Keeps what the tests said of a tree."""
    row = db.execute(
        """insert into test_verdict (project, tree, cmd_digest, env_digest, verdict, n, rc, wall_ms,
             log, output) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) returning id""",
        (
            project,
            tree,
            cmd_digest,
            env_digest,
            seen.verdict,
            seen.n,
            seen.rc,
            seen.wall_ms,
            seen.log,
            seen.output,
        ),
    ).fetchone()
    assert row is not None
    return int(row["id"])


def tested(db: Db, project: int, tree: str, cmd_digest: str, env_digest: str) -> TestVerdict | None:
    """The last verdict on this tree with this command in this layer."""
    row = db.execute(
        """select verdict, n, rc, wall_ms, log, output from test_verdict
           where (project, tree, cmd_digest, env_digest) = (%s, %s, %s, %s)
           order by id desc limit 1""",
        (project, tree, cmd_digest, env_digest),
    ).fetchone()
    return None if row is None else TestVerdict(**row)


def ask_undo(db: Db, task: int, by: str) -> list[int]:
    """Asks the train to take a landing back, and what was built on it first, newest first."""
    rows = db.execute(
        """with recursive built as (
             select %(task)s::bigint as task
             union select d.task from task_dep d join built b on b.task = d.needs)
           insert into landing (project, task, kind, candidate, old_main, new_main, car, tree,
             state)
           select l.project, l.task, 'revert', l.candidate, '', l.new_main, l.car, '', 'asked'
             from landing l join task t on t.id = l.task
             where l.task in (select task from built) and l.kind = 'land' and l.state = 'landed'
               and t.state in ('verifying', 'done')
             order by l.id desc
           on conflict (task, kind) where state <> 'void' do nothing
           returning task""",
        {"task": task},
    ).fetchall()
    for row in rows:
        moves.tell(db, "task", row["task"], "ask_undo", f"undo of task {task}", actor=by)
    return [row["task"] for row in rows]


def asked(db: Db, project: int) -> list[LandingRow]:
    """Reverts the operator asked for, the newest landing first."""
    return many(
        db,
        LandingRow,
        f"select {_COLUMNS} from landing where project = %s and state = 'asked' order by id",
        (project,),
    )


def promise(db: Db, landing: int, old_main: str, new_main: str, tree: str) -> LandingRow:
    """An asked revert becomes an intent: its commit is made and tested."""
    found = one(
        db,
        LandingRow,
        f"""update landing set state = 'intent', old_main = %s, new_main = %s, tree = %s
            where id = %s and state = 'asked' returning {_COLUMNS}""",
        (old_main, new_main, tree, landing),
    )
    if found is None:
        raise moves.IllegalMove(f"Landing {landing} is not asked for any more.")
    return found


def ask_again(db: Db, landing: int) -> None:
    """A revert whose commit did not become main is asked for once more, on main as it is now."""
    db.execute(
        """update landing set state = 'asked', old_main = '', tree = ''
           where id = %s and state = 'intent' and kind = 'revert'""",
        (landing,),
    )


def by_commit(db: Db, project: int, commit: str) -> LandingRow | None:
    """The landing that made `commit` main's tip."""
    return one(
        db,
        LandingRow,
        f"""select {_COLUMNS} from landing where project = %s and new_main = %s
              and kind = 'land' and state = 'landed'""",
        (project, commit),
    )


def last_landed(db: Db, project: int) -> LandingRow | None:
    """The newest landing of a project."""
    return one(
        db,
        LandingRow,
        f"""select {_COLUMNS} from landing where project = %s and state = 'landed'
            order by landed_at desc, id desc limit 1""",
        (project,),
    )


def failure_rate(
    db: Db, project: int, first: float, fold: Callable[[float, int, int], float]
) -> float:
    """What the last cars of a project say about the next one, oldest first."""
    rows = db.execute(
        """select event from (
             select h.id, h.event from history h join task t on t.id = h.subject
             where h.kind = 'task' and t.project = %s
               and (h.event = 'land' or (h.event = 'bounce' and h.reason = 'tests_red'))
             order by h.id desc limit 60) last order by id""",
        (project,),
    )
    rate = first
    for row in rows:
        rate = fold(rate, int(row["event"] == "land"), int(row["event"] == "bounce"))
    return rate
