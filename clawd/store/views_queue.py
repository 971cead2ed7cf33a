"""Read models of lists: the queue, tasks, goals, agents."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from clawd.policy.schedule import Live
from clawd.policy.scope import overlaps
from clawd.store import tasks as tasks_store
from clawd.store.rows import Db

_OPEN = "('done', 'cancelled', 'rolled_back')"


@dataclass(frozen=True, slots=True)
class TaskLine:
    """A task in one line."""

    id: int
    project: str
    goal: int | None
    state: str
    title: str
    priority: int
    reason: str
    waits_for: str
    agent: str
    tries: int
    round: int
    bounces: int
    cost_micros: int
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class GoalLine:
    """A goal in one line."""

    id: int
    project: str
    ident: str
    state: str
    title: str
    line: int
    tasks: int
    done: int
    reason: str
    action: str
    cost_micros: int


@dataclass(frozen=True, slots=True)
class AgentLine:
    """An agent in one line."""

    name: str
    role: str
    state: str
    model: str
    tiers: dict[str, str]
    run: int | None
    task: int | None
    doing: str
    runs: int
    completed: int
    failed: int
    cost_micros: int
    last_used: datetime | None


_TASK_LINE = """
  select t.id, p.slug as project, t.goal, t.state, t.title, t.priority, t.reason, t.owner,
    t.deps_open, case when t.not_before > clawd_now() then t.not_before end as not_before,
    case when t.deps_open > 0 then (select string_agg(d.needs::text, ', ' order by d.needs)
      from task_dep d where d.task = t.id and not d.met) end as unmet,
    coalesce(a.name, '') as agent, t.tries, t.round, t.bounces,
    coalesce((select sum(r.spent_micros) from run r where r.task = t.id), 0)::bigint
      as cost_micros,
    t.changed_at, t.scope, t.project as project_id, p.baseline_verdict as baseline,
    coalesce((p.settings ->> 'overlap')::boolean, false) as overlap,
    exists (select from pause z where (z.until is null or z.until > clawd_now())
      and (z.scope = 'all' or (z.scope = 'project' and z.key = p.slug))) as paused
  from (%s) t join project p on p.id = t.project
  left join run lr on lr.id = t.leased_by_run left join agent a on a.id = lr.agent
"""


def _task_lines(db: Db, query: str, params: dict[str, Any]) -> list[TaskLine]:
    hidden = ("owner", "deps_open", "not_before", "unmet", "paused", "baseline", "overlap",
              "project_id", "scope")  # fmt: skip
    under_way, rows = tasks_store.under_way(db), db.execute(query, params)
    return [
        TaskLine(
            waits_for=_waits_for(row, under_way),
            **{key: value for key, value in row.items() if key not in hidden},
        )
        for row in rows
    ]


def _waits_for(row: dict[str, Any], under_way: list[Live]) -> str:
    if row["state"] in ("waiting", "parked"):
        return "you" if row["owner"] == "operator" else str(row["owner"])
    if row["state"] != "backlog":
        return ""
    if row["deps_open"]:
        return f"task {row['unmet']}"
    if row["not_before"] is not None:
        why = f" ({row['reason']})" if row["reason"] else ""
        return f"{row['not_before'].astimezone():%H:%M}{why}"
    return _held_by(row, under_way) or "an idle agent"


def _held_by(row: dict[str, Any], under_way: list[Live]) -> str:
    """What keeps a ready task from every agent."""
    if row["paused"]:
        return "clawd resume"
    if row["baseline"] != "green":
        return "main to be green"
    for other in () if row["overlap"] else under_way:
        near = other.project == row["project_id"] and other.task != row["id"]
        if near and overlaps(row["scope"], other.scope):
            return f"task {other.task} (the same files)"
    return ""


def queue(db: Db, limit: int = 50) -> list[TaskLine]:
    """What is under way, then what comes next, in the order agents will take it."""
    inner = f"""
      (select * from task where state not in ('backlog', 'parked', 'waiting', 'done', 'cancelled',
         'rolled_back') order by id limit {int(limit)})
      union all
      (select k.* from task k join project p on p.id = k.project
         where k.state = 'backlog' and p.state = 'active'
         order by (k.deps_open > 0 or coalesce(k.not_before > clawd_now(), false)),
           k.front desc, k.priority, k.id limit {int(limit)})"""
    order = """order by t.state = 'backlog',
      (t.deps_open > 0 or coalesce(t.not_before > clawd_now(), false)), t.front desc,
      t.priority, t.id"""
    return _task_lines(db, _TASK_LINE.replace("(%s)", f"({inner})") + order, {})


def tasks(
    db: Db,
    *,
    everything: bool = False,
    states: tuple[str, ...] = (),
    goal: int | None = None,
    project: str | None = None,
    limit: int = 200,
) -> list[TaskLine]:
    """Tasks, open ones unless asked otherwise, newest first."""
    where = ["(%(goal)s::bigint is null or k.goal = %(goal)s)"]
    if states:
        where.append("k.state = any (%(states)s)")
    elif not everything:
        where.append(f"k.state not in {_OPEN}")
    if project is not None:
        where.append("k.project = (select id from project where slug = %(project)s)")
    inner = f"""select k.* from task k where {" and ".join(where)}
      order by k.id desc limit %(limit)s"""
    query = _TASK_LINE.replace("(%s)", f"({inner})") + " order by t.id"
    found = {"goal": goal, "states": list(states), "project": project, "limit": limit}
    return _task_lines(db, query, found)


def goals(db: Db, *, everything: bool = False, goal: int | None = None) -> list[GoalLine]:
    """Goals in the roadmap's order, those of today unless asked otherwise."""
    rows = db.execute(
        """select g.id, p.slug as project, g.ident, g.state, g.title, g.line,
             count(t.id)::int as tasks,
             (count(t.id) filter (where t.state = 'done'))::int as done,
             g.reason, g.action,
             coalesce((select sum(r.spent_micros) from run r where r.goal = g.id), 0)::bigint
               as cost_micros
           from goal g join project p on p.id = g.project left join task t on t.goal = g.id
           where (%(all)s or g.state <> 'withdrawn')
             and (%(goal)s::bigint is null or g.id = %(goal)s)
           group by g.id, p.slug, p.id order by p.id, g.priority, g.id""",
        {"all": everything or goal is not None, "goal": goal},
    )
    return [GoalLine(**row) for row in rows]


def agents(db: Db, *, everything: bool = False) -> list[AgentLine]:
    """Agents by name, with what they earned and what they do."""
    rows = db.execute(
        """select a.name, a.role, a.state, a.model,
             coalesce((select jsonb_object_agg(p.slug, x.tier) from agent_tier x
               join project p on p.id = x.project where x.agent = a.id), '{}') as tiers,
             a.live_run as run, r.task, coalesce(r.doing, '') as doing,
             coalesce(n.runs, 0) as runs, coalesce(n.completed, 0) as completed,
             coalesce(n.failed, 0) as failed, coalesce(n.cost, 0)::bigint as cost_micros,
             a.last_used
           from agent a left join run r on r.id = a.live_run
           left join (select agent, count(*)::int as runs,
               (count(*) filter (where state = 'completed'))::int as completed,
               (count(*) filter (where state in ('failed', 'lost')))::int as failed,
               sum(spent_micros) as cost from run group by agent) n on n.agent = a.id
           where %(all)s or a.state <> 'removed' order by a.role, a.name""",
        {"all": everything},
    )
    return [AgentLine(**row) for row in rows]
