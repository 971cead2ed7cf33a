"""Gives ready work to idle agents: gather, let the policy choose, claim with the money reserved."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import psutil

from clawd.adapters import crash
from clawd.config import Login
from clawd.model import Agent, Facts, Json, Project, Role, Run, Task
from clawd.pipeline import breaking, report
from clawd.pipeline.desk import Desk
from clawd.policy import budget, schedule
from clawd.policy.failure import REASONS, Reason
from clawd.policy.scope import overlaps
from clawd.policy.tier import Tier, TierName, run_minutes
from clawd.store import agents, approvals, breakers, landings, ledger, moves, projects, runs, tasks
from clawd.store.moves import Claim, NoRoom
from clawd.store.rows import Db

# How many more turns of the same candidate a reviewer gets is small: it reads, it does not build.
_QA_SHARE = 0.5
# When nothing of the first is to be had, a task far behind may be: its files are free.
READY_WINDOWS = (20, 300)


@dataclass(frozen=True, slots=True)
class Taken:
    """A claimed task with everything its run needs."""

    project: Project
    task: Task
    run: Run
    agent: Agent


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look found. The claim itself asks again for everything that must hold."""

    now: datetime
    resting: breaking.Resting
    projects: Mapping[int, Project]

    @classmethod
    def around(cls, db: Db) -> _Look:
        return cls(_now(db), breakers.all_open(db), {p.id: p for p in projects.active(db)})


def next_dev(desk: Desk) -> Taken | None:
    """One ready task for one idle developer; None when nothing fits."""
    with desk.db() as db:
        if not _has_slot(desk, db):
            return None
        look = _Look.around(db)
        idle = breaking.idle(desk, db, Role.DEV, look.resting, look.now)
        if not idle:
            return None
        for window in READY_WINDOWS:
            ready = {task.id: task for task in tasks.ready(db, window)}
            taken = _offer(desk, db, look, idle, ready)
            if taken is not None or len(ready) < window:
                return taken
    return None


def _offer(
    desk: Desk, db: Db, look: _Look, idle: Sequence[Agent], ready: Mapping[int, Task]
) -> Taken | None:
    """The ready tasks to each idle developer in turn, in the order the policy gives them."""
    if not ready:
        return None
    under_way = tasks.under_way(db)
    caps = {p.id: _share(desk, db, p) for p in look.projects.values()}
    kept_for = {task.prefer_agent for task in ready.values() if task.prefer_agent is not None}
    away = breaking.away(db, look.resting, kept_for, look.now)
    asked = [_ready(task, away) for task in ready.values()]
    for agent in idle:
        choice = schedule.choose(asked, under_way, caps, agent.id, look.now, overlaps)
        offered = [ready[task] for task in choice.tasks]
        taken = _take(desk, db, look, Role.DEV, agent, offered, choice.held)
        if taken is not None:
            return taken
    return None


def next_qa(desk: Desk) -> Taken | None:
    """One checked candidate for one idle reviewer; None when nothing fits."""
    with desk.db() as db:
        if not _has_slot(desk, db):
            return None
        waiting = tasks.reviewable(db)
        if not waiting or _paused(db):
            return None
        look = _Look.around(db)
        for agent in breaking.idle(desk, db, Role.QA, look.resting, look.now):
            taken = _take(desk, db, look, Role.QA, agent, waiting, {})
            if taken is not None:
                return taken
    return None


def open_goal_run(
    desk: Desk, db: Db, project: Project, goal: int | None, role: Role
) -> tuple[Agent, Run] | None:
    """A run of the PM or the planner, when one is idle and the day has room."""
    look = _Look.around(db)
    now = look.now
    idle = breaking.idle(desk, db, role, look.resting, now)
    if not idle or not _has_slot(desk, db) or _paused(db):
        return None
    agent = idle[0]
    tier, allowed = _tier(desk, db, agent, project.id)
    day = _day_envelope(desk, db, now)
    granted = budget.grant(allowed.usd_micros, None, day.left)
    if granted.refusal:
        _day_is_empty(db, project, now)
        return None
    run = _run_request(desk, agent, (tier, allowed), granted.micros, now, allowed.minutes, None)
    try:
        with db.transaction():
            opened = moves.open_run(db, project.id, goal, role, agent.id, desk.host, run)
            breaking.begin(db, look.resting, agent, project)
            desk.starting.add(opened.id)  # before anybody sees the row and misses its process
    except NoRoom:
        return None
    return agent, opened


def _take(
    desk: Desk,
    db: Db,
    look: _Look,
    role: Role,
    agent: Agent,
    offered: Sequence[Task],
    held: object,
) -> Taken | None:
    names = [task.id for task in offered[:20]]
    for task in offered:
        project = look.projects.get(task.project)
        if project is None or not breaking.may_work(look.resting, project, look.now):
            continue
        request = _with_money(desk, db, role, agent, project, task, look.now)
        if request is None:
            continue
        why = f"first of {len(offered)} that fit {agent.name}, priority {task.priority}"
        facts = Facts({"offered": names, "held": held}, policy="schedule", version="1")
        lease = timedelta(seconds=desk.config.lease.lease_s)
        try:
            run = moves.claim(
                db, Claim((task.id,), role, agent.id, desk.host, lease, request, why, facts=facts)
            )
        except NoRoom:
            continue
        if run is not None:
            crash.point("claim.after")
            breaking.begin(db, look.resting, agent, project)
            claimed = tasks.by_id(db, task.id)
            assert claimed is not None  # noqa: S101 - it was just claimed
            return Taken(project, claimed, run, agent)
    return None


def _with_money(
    desk: Desk, db: Db, role: Role, agent: Agent, project: Project, task: Task, now: datetime
) -> Json | None:
    tier, allowed = _tier(desk, db, agent, project.id)
    day = _day_envelope(desk, db, now)
    own = ledger.envelope(db, "task", str(task.id), "", desk.config.budget.task_micros)
    granted = budget.grant(allowed.usd_micros, own.left, day.left)
    if granted.refusal.startswith("day"):
        _day_is_empty(db, project, now)
        return None
    if granted.refusal:
        _task_is_empty(db, project, task, own.spent)
        return None
    resumes = _resumable(desk, db, task) if role is Role.DEV else None
    minutes = run_minutes(allowed, task.size_minutes)
    if role is Role.QA:
        minutes = max(5, int(allowed.minutes * _QA_SHARE))
    return _run_request(desk, agent, (tier, allowed), granted.micros, now, minutes, resumes)


def _run_request(
    desk: Desk,
    agent: Agent,
    standing: tuple[TierName, Tier],
    micros: int,
    now: datetime,
    minutes: int,
    resumes: Run | None,
) -> Json:
    tier, allowed = standing
    return {
        "reserved_micros": micros,
        "tier": tier.value,
        "model": agent.model,
        "network": "none" if desk.config.login is Login.NONE else "open",
        "session": resumes.session if resumes else str(uuid.uuid4()),
        "resumes": resumes.id if resumes else None,
        "limits": {
            "turns": allowed.turns,
            "minutes": minutes,
            "usd": micros / budget.MICROS,
            "capped": micros < allowed.usd_micros,
            "diff_lines": allowed.diff_lines,
            "day": day_of(now),
        },
    }


def day_of(now: datetime) -> str:
    """The period of the day envelope: the operator's own day."""
    return now.astimezone().date().isoformat()


def _resumable(desk: Desk, db: Db, task: Task) -> Run | None:
    """The last developer session, when it lives on this host and was not spoilt."""
    if not task.fence:
        return None  # nobody has ever held it
    mine = [r for r in runs.of_task(db, task.id) if r.role == Role.DEV and r.delivered_at]
    last = mine[-1] if mine else None
    if last is None or not last.session or last.host != desk.host:
        return None
    return last


def _has_slot(desk: Desk, db: Db) -> bool:
    if desk.freeze_file.exists() or short_of(desk):
        return False
    live = runs.count_live(db)
    if live and projects.on_trial(db):
        return False  # after a pause of the account one run tries it, the others follow
    return live < desk.config.limits.max_live


def short_of(desk: Desk) -> list[str]:
    """What this machine has too little of to start a run; what runs may still end well."""
    limits = desk.config.limits
    found = []
    if not has_disk(desk):
        found.append(f"less than {limits.free_disk_percent} % of the disk is free")
    if psutil.virtual_memory().available < limits.free_memory_mb * 1_000_000:
        found.append(f"less than {limits.free_memory_mb} MB of memory is free")
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    if limits.load_per_core and load > limits.load_per_core:
        found.append(f"{load:.0f} processes wait for each core")
    return found


def has_disk(desk: Desk) -> bool:
    """Whether more of the disk is free than must be."""
    disk = shutil.disk_usage(desk.home)
    return 100 * disk.free >= desk.config.limits.free_disk_percent * disk.total


def _paused(db: Db) -> bool:
    return any(p["scope"] == "all" for p in projects.pauses(db))


def _share(desk: Desk, db: Db, project: Project) -> schedule.Share:
    """One agent at a time until a user's own repository has seen its first landing."""
    asked = int(project.settings.get("max_agents", 0))
    if not asked:
        asked = desk.config.limits.max_live if landings.any_of(db, project.id) else 1
    return schedule.Share(project.weight, asked, bool(project.settings.get("overlap")))


def _tier(desk: Desk, db: Db, agent: Agent, project: int) -> tuple[TierName, Tier]:
    earned = agents.tier(db, agent.id, project)
    tier = TierName(earned) if earned else desk.config.agents.of(agent.role).tier
    return tier, desk.config.tiers[tier]


def _ready(task: Task, away: set[int]) -> schedule.Ready:
    kept_for = None if task.prefer_agent in away else task.prefer_agent
    return schedule.Ready(task.id, task.project, task.scope, kept_for, task.prefer_until)


def _day_envelope(desk: Desk, db: Db, now: datetime) -> ledger.Envelope:
    return ledger.envelope(db, "day", "all", day_of(now), desk.config.budget.day_micros)


def _day_is_empty(db: Db, project: Project, now: datetime) -> None:
    text = "Today's budget is used up: no run starts until tomorrow, or `clawd budget set`."
    report.needs_you(db, project, text, dedupe=f"day_empty:{day_of(now)}")


def _task_is_empty(db: Db, project: Project, task: Task, spent: int) -> None:
    """A task that used up its own envelope waits for the operator, not for a timer."""
    if task.state != "backlog":
        return
    reason = Reason.ENVELOPE_EMPTY
    why = f"the task's own envelope is used up after {budget.usd(spent)}"
    with db.transaction():
        parked = moves.move_task(
            db, task.id, "park", why=why, actor="budget", reason=reason.value,
            owner=REASONS[reason].owner.value,
            action=f"clawd budget set --task {task.id} USD, then clawd task retry {task.id}",
        )  # fmt: skip
        approvals.void_of_task(db, task.id)
        report.parked(db, project, parked)


def _now(db: Db) -> datetime:
    row = db.execute("select clawd_now() as now").fetchone()
    assert row is not None  # noqa: S101 - a select of one value returns its row
    moment: datetime = row["now"]
    return moment
