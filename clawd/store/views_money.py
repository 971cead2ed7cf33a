"""Read models of money and evidence: what was spent on what, and what was proven."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from clawd.store.rows import Db
from clawd.store.views_idle import Money, day_money, today

_BY = {
    "day": "to_char(r.created_at, 'YYYY-MM-DD')",
    "task": "coalesce('task ' || r.task, 'goal ' || r.goal, 'roadmap')",
    "role": "r.role",
    "agent": "a.name",
    "project": "p.slug",
    "model": "coalesce(nullif(r.model, ''), 'unknown')",
}
WAYS = tuple(_BY)


@dataclass(frozen=True, slots=True)
class CostLine:
    """What one day, task, role, agent, project or model cost."""

    key: str
    runs: int
    minutes: float
    cost_micros: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What clawd spent, at list price."""

    by: str
    days: int
    total_micros: int
    today: Money
    lines: list[CostLine]


@dataclass(frozen=True, slots=True)
class EnvelopeLine:
    """A budget as it stands."""

    scope: str
    scope_id: str
    period: str
    limit_micros: int
    spent_micros: int
    reserved_micros: int
    left_micros: int


@dataclass(frozen=True, slots=True)
class Proof:
    """A claim and what the daemon's own check said of it."""

    id: int
    at: datetime
    task: int | None
    run: int | None
    agent: str
    kind: str
    claim: str
    state: str
    digest: str
    artifact_path: str


def cost(db: Db, by: str = "day", days: int = 7) -> Cost:
    """Money of the last days, summed one way, the dearest first (days: the newest first)."""
    key = _BY[by]
    order = "key desc" if by == "day" else "cost_micros desc, key"
    rows = db.execute(
        f"""select {key} as key, count(*)::int as runs,
             round(sum(extract(epoch from coalesce(r.ended_at, clawd_now())
               - coalesce(r.started_at, r.created_at))) / 60, 1)::float8 as minutes,
             sum(r.spent_micros)::bigint as cost_micros
           from run r join agent a on a.id = r.agent join project p on p.id = r.project
           where r.created_at > clawd_now() - make_interval(days => %(days)s)
           group by 1 order by {order}""",
        {"days": days},
    )
    lines = [CostLine(**row) for row in rows]
    total = sum(line.cost_micros for line in lines)
    return Cost(by, days, total, day_money(db, today(db)), lines)


def envelopes(db: Db, limit: int = 20) -> list[EnvelopeLine]:
    """The newest days, and the tasks whose envelope is in use or used up."""
    rows = db.execute(
        """(select scope, scope_id, period, "limit" as limit_micros, spent as spent_micros,
              reserved as reserved_micros, greatest(0, "limit" - spent - reserved) as left_micros
            from envelope where scope = 'day' order by period desc limit 7)
           union all
           (select scope, scope_id, period, "limit", spent, reserved,
              greatest(0, "limit" - spent - reserved)
            from envelope where scope <> 'day' and (reserved > 0 or spent + 50000 > "limit")
            order by starts desc limit %s)""",
        (limit,),
    )
    return [EnvelopeLine(**row) for row in rows]


def proofs(
    db: Db,
    *,
    task: int | None = None,
    agent: str | None = None,
    kind: str | None = None,
    since: datetime | None = None,
    limit: int = 200,
) -> list[Proof]:
    """What was claimed and checked, newest last."""
    rows = db.execute(
        """select * from (
             select e.id, e.checked as at, e.task, e.run, coalesce(a.name, '') as agent, e.kind,
               e.claim, e.state, e.digest, e.artifact_path
             from evidence e left join run r on r.id = e.run left join agent a on a.id = r.agent
             where (%(task)s::bigint is null or e.task = %(task)s)
               and (%(agent)s::text is null or a.name = %(agent)s)
               and (%(kind)s::text is null or e.kind = %(kind)s)
               and (%(since)s::timestamptz is null or e.checked >= %(since)s)
             order by e.id desc limit %(limit)s) x order by id""",
        {"task": task, "agent": agent, "kind": kind, "since": since, "limit": limit},
    )
    return [Proof(**row) for row in rows]
