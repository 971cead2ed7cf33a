"""Read models of the whole: what runs, what waits, what it costs, why nothing happens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from clawd import machine
from clawd.policy.failure import REASONS, Reason
from clawd.store.rows import Db

IDLE_ALARM = timedelta(minutes=15)
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
class Money:
    """An envelope as it stands."""

    period: str
    limit_micros: int
    spent_micros: int
    reserved_micros: int
    left_micros: int


@dataclass(frozen=True, slots=True)
class ProjectLine:
    """A repository under care, in one line."""

    slug: str
    path: str
    main_ref: str
    landing: str
    baseline: str
    landings_held: str
    roadmap_problem: str
    paused: str
    open_tasks: int


@dataclass(frozen=True, slots=True)
class Alarm:
    """Work stands ready and nobody takes it."""

    ready: int
    minutes: int
    because: list[str]


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
    now: datetime = value(db, "select clawd_now() as v")
    tally = _tally(db)
    projects = project_lines(db, tally)
    money = day_money(db, day_of(now))
    ready, oldest = _ready(db)
    because = _idle_because(db, projects, money, ready, daemon=daemon)
    return Overview(
        at=now,
        projects=projects,
        tasks=_summed(tally),
        goals=_goal_counts(db),
        runs=live_runs(db),
        waiting=inbox(db),
        stopped=stopped(db),
        money=money,
        pauses=_pauses(db),
        ready=ready,
        idle_because=because,
        alarm=_alarm(db, now, ready, oldest, because),
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


def day_of(now: datetime) -> str:
    """The period of the day's envelope: the operator's own day."""
    return now.astimezone().date().isoformat()


def today(db: Db) -> str:
    """The period of the envelope that is drawn on now."""
    return day_of(value(db, "select clawd_now() as v"))


def day_money(db: Db, period: str) -> Money:
    """The day's envelope; when nothing was spent in it yet, the newest limit and zeros."""
    row = db.execute(
        """select period, "limit", spent, reserved from envelope
           where scope = 'day' and scope_id = 'all' order by period desc limit 1"""
    ).fetchone()
    if row is None:
        return Money(period, 0, 0, 0, 0)
    limit, spent, reserved = row["limit"], row["spent"], row["reserved"]
    if row["period"] != period:
        spent = reserved = 0
    return Money(period, limit, spent, reserved, max(0, limit - spent - reserved))


def project_lines(db: Db, tally: dict[str, dict[str, int]] | None = None) -> list[ProjectLine]:
    """Every project under care."""
    tally = _tally(db) if tally is None else tally
    rows = db.execute(
        """select p.slug, p.path, p.main_ref, p.landing, p.baseline_verdict as baseline,
             p.landings_held, p.roadmap_problem,
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


def value(db: Db, query: str, params: Any = ()) -> Any:
    """The one value of a query that names it `v`; None when there is no row."""
    row = db.execute(query, params).fetchone()
    return None if row is None else row["v"]


def _remedy(reason: str) -> str:
    known = REASONS.get(Reason(reason)) if reason in set(Reason) else None
    return known.remedy if known else ""


def _command(kind: str, ask: int) -> str:
    if kind in ("question", "plan"):
        return f"clawd answer {ask} 'TEXT'"
    return f"clawd approve {ask}  or  clawd reject {ask}"


def _ready(db: Db) -> tuple[int, datetime | None]:
    """How many tasks could start now, and since when the first of them could."""
    row = db.execute(
        """select count(*)::int as n, min(greatest(queued_at, coalesce(not_before, queued_at)))
             as oldest
           from (select t.queued_at, t.not_before from task t join project p on p.id = t.project
             where t.state = 'backlog' and t.deps_open = 0 and t.leased_by_run is null
               and (t.not_before is null or t.not_before <= clawd_now()) and p.state = 'active'
             limit 1000) k"""
    ).fetchone()
    assert row is not None
    return row["n"], row["oldest"]


def _pauses(db: Db) -> list[str]:
    rows = db.execute(
        """select scope, key, until, reason, by from pause
           where until is null or until > clawd_now() order by scope, key"""
    )
    return [
        f"{row['key'] or 'everything'} paused by {row['by']}: {row['reason']}"
        + (f", until {row['until'].astimezone():%H:%M}" if row["until"] else "")
        for row in rows
    ]


def _idle_because(
    db: Db, projects: list[ProjectLine], money: Money, ready: int, *, daemon: bool
) -> list[str]:
    """Every fact that keeps work from being claimed now, most general first."""
    found = [] if daemon else ["the daemon is not running (clawd up)"]
    found += [f"{line} (clawd resume)" for line in _pauses(db)]
    if not projects:
        found.append("no project is under care (clawd init PATH)")
    remedies = {
        "unknown": "its main has not been tested yet",
        "red": "its main's own tests fail: mend main",
        "flaky": "its main's tests differ from run to run",
        "no_command": "it has no test command, so nothing may land",
        "setup_failed": "its set-up command failed",
    }
    found += [f"{p.slug}: {remedies[p.baseline]}" for p in projects if p.baseline != "green"]
    if money.limit_micros and money.left_micros < 50_000:
        found.append("the day's envelope is empty (clawd budget set --day USD)")
    idle = value(
        db,
        """select count(*)::int as v from agent
           where role = 'dev' and state = 'active' and live_run is null""",
    )
    if not idle:
        found.append("no dev agent is idle")
    if not ready:
        found += _nothing_ready(db)
    return found


def _nothing_ready(db: Db) -> list[str]:
    row = db.execute(
        """select count(*) filter (where deps_open > 0)::int as deps,
             count(*) filter (where deps_open = 0 and not_before > clawd_now())::int as later,
             min(not_before) filter (where deps_open = 0 and not_before > clawd_now()) as first,
             (array_agg(reason) filter (where not_before > clawd_now()))[1] as reason
           from task where state = 'backlog'"""
    ).fetchone()
    assert row is not None
    found = []
    if row["deps"]:
        found.append(f"{row['deps']} waiting for the tasks they need")
    if row["later"]:
        why = f" ({row['reason']})" if row["reason"] else ""
        found.append(f"{row['later']} not before {row['first'].astimezone():%H:%M}{why}")
    return found


def _alarm(
    db: Db, now: datetime, ready: int, oldest: datetime | None, because: list[str]
) -> Alarm | None:
    """Work ready, no claim for a quarter of an hour."""
    if not ready or oldest is None:
        return None
    last = value(
        db, "select created_at as v from run where task is not null order by id desc limit 1"
    )
    idle = now - (oldest if last is None else max(oldest, last))
    if idle < IDLE_ALARM:
        return None
    return Alarm(ready, int(idle.total_seconds() // 60), because or ["no fact explains it"])
