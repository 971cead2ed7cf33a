"""Read models of the demo: what happened since, whether anything can still move, what was spent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from clawd.store.rows import Db

_LIVE = "('created', 'context_loaded', 'executing')"


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums of one amount kept in several places, which must agree."""

    runs: int
    run_micros: int
    ledger_micros: int
    day_micros: int
    reserved_micros: int
    most_at_once: int


def now(db: Db) -> datetime:
    """The database's time."""
    moment: datetime = db.execute("select clawd_now() as now").fetchall()[0]["now"]
    return moment


def steps(db: Db) -> list[dict[str, Any]]:
    """Every decision that moved a task or goal, with the seconds since the first."""
    return db.execute(
        """select h.id, h.kind, h.subject, h.event, h.to_state, coalesce(a.name, '') as agent,
             l.why, extract(epoch from h.at - min(h.at) over ())::float8 as at_s
           from history h
           join lineage l on l.chain = h.kind || ':' || h.subject and l.id = h.lineage
           left join run r on r.id = h.run left join agent a on a.id = r.agent
           where h.kind <> 'run' order by h.id"""
    ).fetchall()


def is_settled(db: Db) -> bool:
    """No run lives, no goal wants a plan, no task can move without a person, no box is due."""
    row = db.execute(
        f"""with recursive stuck(id) as (
             select id from task where state in ('parked', 'cancelled', 'rolled_back')
             union select d.task from task_dep d join stuck s on d.needs = s.id where not d.met)
           select exists (select from goal) and not (
             exists (select from run where state in {_LIVE})
             or exists (select from goal where state in ('seen', 'planning'))
             or exists (select from goal where state = 'done' and done_by = 'clawd' and not ticked)
             or exists (select from goal g where g.state = 'planned' and not exists
               (select from task t where t.goal = g.id and t.state <> 'done'))
             or exists (select from task t
               where t.state not in ('done', 'parked', 'cancelled', 'rolled_back')
                 and not (t.state = 'backlog' and t.id in (select id from stuck))
                 and not (t.state = 'waiting' and not exists (select from approval w
                   where w.task = t.id and w.state = 'open' and w.kind = 'question')))
           ) as settled"""
    ).fetchone()
    assert row is not None
    return bool(row["settled"])


def task_ids(db: Db) -> list[int]:
    """Every task there is."""
    return [row["id"] for row in db.execute("select id from task order by id").fetchall()]


def goals(db: Db) -> list[dict[str, Any]]:
    """What became of every item of the roadmap."""
    return db.execute(
        """select g.id, g.title, g.state, g.ticked, g.reason,
             array(select t.id from task t where t.goal = g.id order by t.id) as tasks
           from goal g where g.state <> 'withdrawn' order by g.priority, g.id"""
    ).fetchall()


def totals(db: Db) -> Totals:
    """Runs, money by each of its ledgers, and the most agents alive at one moment."""
    row = db.execute(
        """with step as (
             select started_at as at, 1 as n from run where started_at is not null
             union all select ended_at, -1 from run
               where started_at is not null and ended_at is not null),
           level as (select sum(n) over (order by at, n rows unbounded preceding) as n from step)
           select (select count(*) from run)::int as runs,
             coalesce((select sum(spent_micros) from run), 0)::bigint as run_micros,
             coalesce((select sum(micros) from ledger), 0)::bigint as ledger_micros,
             coalesce((select sum(spent) from envelope where scope = 'day'), 0)::bigint
               as day_micros,
             coalesce((select sum(reserved) from envelope), 0)::bigint as reserved_micros,
             coalesce((select max(n) from level), 0)::int as most_at_once"""
    ).fetchone()
    assert row is not None
    return Totals(**row)


def holds(db: Db, task: int, verdict: int) -> bool:
    """Whether a verdict is a pass on the very patch and contract the task ended with."""
    row = db.execute(
        """select v.answer = 'pass' and v.task = t.id and seen.patch_digest = last.patch_digest
             and v.contract_version = t.contract_version as ok
           from task t join candidate last on last.id = t.candidate
           join verdict v on v.id = %s join candidate seen on seen.id = v.candidate
           where t.id = %s""",
        (verdict, task),
    ).fetchone()
    return row is not None and bool(row["ok"])


def green_trees(db: Db) -> set[str]:
    """Every tree some tests were green on."""
    rows = db.execute("select distinct tree from test_verdict where verdict = 'green'")
    return {row["tree"] for row in rows}
