"""Read models of standing still: money left, pauses, and every reason why nothing is claimed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from clawd.store.rows import Db

IDLE_ALARM = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Money:
    """An envelope as it stands."""

    period: str
    limit_micros: int
    spent_micros: int
    reserved_micros: int
    left_micros: int
    is_set: bool = True


@dataclass(frozen=True, slots=True)
class ProjectLine:
    """A repository under care, in one line."""

    slug: str
    path: str
    main_ref: str
    landing: str
    baseline: str
    baseline_why: str
    landings_held: str
    not_followed: str
    roadmap_problem: str
    paused: str
    open_tasks: int


@dataclass(frozen=True, slots=True)
class Alarm:
    """Work stands ready and nobody takes it."""

    ready: int
    minutes: int
    because: list[str]


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
        return Money(period, 0, 0, 0, 0, is_set=False)
    limit, spent, reserved = row["limit"], row["spent"], row["reserved"]
    if row["period"] != period:
        spent = reserved = 0
    return Money(period, limit, spent, reserved, max(0, limit - spent - reserved))


def value(db: Db, query: str, params: Any = ()) -> Any:
    """The one value of a query that names it `v`; None when there is no row."""
    row = db.execute(query, params).fetchone()
    return None if row is None else row["v"]


def ready(db: Db) -> tuple[int, datetime | None]:
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


def pauses(db: Db) -> list[str]:
    rows = db.execute(
        """select scope, key, until, reason, by from pause
           where until is null or until > clawd_now() order by scope, key"""
    )
    return [
        f"{row['key'] or 'everything'} paused by {row['by']}: {row['reason']}"
        + (f", until {row['until'].astimezone():%H:%M}" if row["until"] else "")
        for row in rows
    ]


def idle_because(
    db: Db, projects: list[ProjectLine], money: Money, number: int, *, daemon: bool
) -> list[str]:
    """Every fact that keeps work from being claimed now, most general first."""
    found = [] if daemon else ["the daemon is not running (clawd up)"]
    found += [f"{line} (clawd resume)" for line in pauses(db)]
    if not projects:
        found.append("no project is under care (clawd init PATH)")
    remedies = {
        "unknown": "its main has not been tested yet",
        "red": "its main's own tests fail: mend main",
        "flaky": "its main's tests differ from run to run",
        "no_command": "it has no test command, so nothing may land",
        "setup_failed": "its set-up command failed",
    }
    found += [
        f"{p.slug}: {p.baseline_why or remedies[p.baseline]}"
        for p in projects
        if p.baseline != "green"
    ]
    if money.is_set and money.left_micros < 50_000:
        found.append("the day's envelope is empty (clawd budget set --day USD)")
    idle = value(
        db,
        """select count(*)::int as v from agent
           where role = 'dev' and state = 'active' and live_run is null""",
    )
    if not idle:
        found.append("no dev agent is idle")
    found += _resting(db)
    if not number:
        found += _nothing_ready(db)
    return found


def _resting(db: Db) -> list[str]:
    """Breakers that keep an agent, a model or a project from being asked."""
    rows = db.execute(
        """select scope, key, state, fails, probe_at from breaker
           where state <> 'closed' and probe_at > clawd_now() order by scope desc, key"""
    )
    return [
        f"{row['scope']} {row['key']} "
        + ("is being tried by one run" if row["state"] == "half_open"
           else f"rests until {row['probe_at'].astimezone():%H:%M}")
        + f" after {row['fails']} failures in a row (clawd resume)"
        for row in rows
    ]  # fmt: skip


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


def alarm(
    db: Db, now: datetime, number: int, oldest: datetime | None, because: list[str]
) -> Alarm | None:
    """Work ready, no claim for a quarter of an hour."""
    if not number or oldest is None:
        return None
    last = value(
        db, "select created_at as v from run where task is not null order by id desc limit 1"
    )
    idle = now - (oldest if last is None else max(oldest, last))
    if idle < IDLE_ALARM:
        return None
    return Alarm(number, int(idle.total_seconds() // 60), because or ["no fact explains it"])
