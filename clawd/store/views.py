"""Read models of the whole: what runs, what waits, what it costs, why nothing happens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from clawd import machine
from clawd.policy.failure import REASONS, Reason
from clawd.store import views_idle as idle
from clawd.store.rows import Db
from clawd.store.views_idle import Alarm, Money, ProjectLine

_LIVE_RUN = "('created', 'context_loaded', 'executing')"


@dataclass(frozen=True, slots=True)
class LiveRun:
    """An agent at work."""

    run: int
    agent: str
    role: str
    tier: str
    project: str
    task: int | None
    goal: int | None
    title: str
    doing: str
    since: datetime
    minutes: float
    turns: int
    cost_micros: int
    limit_micros: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """One thing that waits for a person, and the command that settles it."""

    id: int
    kind: str
    project: str
    task: int | None
    goal: int | None
    title: str
    question: str
    options: list[str]
    asked: datetime
    command: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """A task or goal that no timer can help, and what does."""

    kind: str
    id: int
    title: str
    reason: str
    owner: str
    action: str


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything `clawd status` says that the database knows."""

    at: datetime
    projects: list[ProjectLine]
    tasks: dict[str, int]
    goals: dict[str, int]
    runs: list[LiveRun]
    waiting: list[Waiting]
    stopped: list[Stopped]
    money: Money
    pauses: list[str]
    ready: int
    idle_because: list[str]
    alarm: Alarm | None


def overview(db: Db, *, daemon: bool = True) -> Overview:
    """The whole in a handful of queries."""
    now: datetime = idle.value(db, "select clawd_now() as v")
    tally = _tally(db)
    projects = project_lines(db, tally)
    money = idle.day_money(db, idle.day_of(now))
    ready, oldest = idle.ready(db)
    because = idle.idle_because(db, projects, money, ready, daemon=daemon)
    return Overview(
        at=now,
        projects=projects,
        tasks=_summed(tally),
        goals=_goal_counts(db),
        runs=live_runs(db),
        waiting=inbox(db),
        stopped=stopped(db),
        money=money,
        pauses=idle.pauses(db),
        ready=ready,
        idle_because=because,
        alarm=idle.alarm(db, now, ready, oldest, because),
    )


def _tally(db: Db) -> dict[str, dict[str, int]]:
    """How many tasks of each project stand in each state: one scan, whatever is asked of it."""
    found: dict[str, dict[str, int]] = {}
    rows = db.execute(
        """select p.slug, k.state, k.n from (select project, state, count(*)::int as n from task
             group by project, state) k join project p on p.id = k.project"""
    )
    for row in rows:
        found.setdefault(row["slug"], {})[row["state"]] = row["n"]
    return found


def _summed(tally: dict[str, dict[str, int]]) -> dict[str, int]:
    found = dict.fromkeys(machine.states("task"), 0)
    for states in tally.values():
        for state, number in states.items():
            found[state] += number
    return found


def _goal_counts(db: Db) -> dict[str, int]:
    rows = db.execute("select state, count(*)::int as n from goal group by state")
    return dict.fromkeys(machine.states("goal"), 0) | {row["state"]: row["n"] for row in rows}


def live_runs(db: Db) -> list[LiveRun]:
    """Every agent at work, oldest run first."""
    rows = db.execute(
        f"""select r.id as run, a.name as agent, r.role, r.tier, p.slug as project, r.task, r.goal,
             coalesce(t.title, g.title, 'the roadmap') as title, r.doing,
             coalesce(r.started_at, r.created_at) as since,
             round(extract(epoch from clawd_now() - coalesce(r.started_at, r.created_at)) / 60,
               1)::float8 as minutes,
             r.turns, r.spent_micros as cost_micros, r.reserved_micros as limit_micros
           from run r join agent a on a.id = r.agent join project p on p.id = r.project
           left join task t on t.id = r.task left join goal g on g.id = r.goal
           where r.state in {_LIVE_RUN} order by r.id"""
    )
    return [LiveRun(**row) for row in rows]


def inbox(db: Db) -> list[Waiting]:
    """Everything a person is asked, oldest first."""
    rows = db.execute(
        """select w.id, w.kind, coalesce(p.slug, '') as project, w.task, w.goal,
             coalesce(t.title, g.title, '') as title, w.question, w.options, w.asked
           from approval w left join task t on t.id = w.task left join goal g on g.id = w.goal
           left join project p on p.id = coalesce(t.project, g.project, w.project)
           where w.state = 'open' order by w.id"""
    )
    return [Waiting(**row, command=_command(row["kind"], row["id"])) for row in rows]


def stopped(db: Db, limit: int = 20) -> list[Stopped]:
    """Parked tasks and blocked goals, newest first: each names whose turn it is."""
    rows = db.execute(
        """(select 'task' as kind, id, title, reason, owner, action from task
              where state = 'parked' order by id desc limit %(n)s)
           union all
           (select 'goal', id, title, reason, owner, action from goal where state = 'blocked'
              order by id desc limit %(n)s)""",
        {"n": limit},
    )
    return [Stopped(**{**row, "action": row["action"] or _remedy(row["reason"])}) for row in rows]


def project_lines(db: Db, tally: dict[str, dict[str, int]] | None = None) -> list[ProjectLine]:
    """Every project under care."""
    tally = _tally(db) if tally is None else tally
    rows = db.execute(
        """select p.slug, p.path, p.main_ref, p.landing, p.baseline_verdict as baseline,
             case when p.baseline_verdict = 'unknown' then left(p.baseline_log, 300) else '' end
               as baseline_why,
             p.landings_held, p.not_followed, p.roadmap_problem,
             coalesce((select z.reason from pause z where z.scope = 'project' and z.key = p.slug
               and (z.until is null or z.until > clawd_now())), '') as paused
           from project p where p.state = 'active' order by p.id"""
    )
    ended = machine.ENDED["task"]
    return [
        ProjectLine(
            **row,
            open_tasks=sum(
                n for state, n in tally.get(row["slug"], {}).items() if state not in ended
            ),
        )
        for row in rows
    ]


def _remedy(reason: str) -> str:
    known = REASONS.get(Reason(reason)) if reason in set(Reason) else None
    return known.remedy if known else ""


def _command(kind: str, ask: int) -> str:
    if kind in ("question", "plan"):
        return f"clawd answer {ask} 'TEXT'"
    return f"clawd approve {ask}  or  clawd reject {ask}"
