"""The daemon's loops: each reconciles first, acts, and says when it wants to be called again."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from time import monotonic, time

from clawd.adapters import notify
from clawd.adapters.awake import Awake
from clawd.adapters.watch import RoadmapWatch
from clawd.errors import ClawdError
from clawd.model import Project, Task
from clawd.pipeline import (
    baseline,
    check,
    claim,
    develop,
    patrol,
    plan,
    recover,
    report,
    retention,
    review,
    roadmap,
    undo,
    verify,
)
from clawd.pipeline.claim import Taken
from clawd.pipeline.desk import Desk
from clawd.pipeline.recover import Follower
from clawd.pipeline.train import Train
from clawd.store import goals, landings, outbox, projects, runs, tasks, views

IDLE_S = 15.0
# Wall and steady clock drift apart by less than this unless the machine slept.
JUMP_S = 30.0
FEED_ROWS_KEPT = 10_000
REFILL_AFTER_S = 0.4
WORKERS = 4


class Work:
    """Settles ended runs, then gives ready work to idle agents."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="work")
        self._busy: set[int] = set()
        self._lock = threading.Lock()

    def tick(self) -> float:
        """One round; hints call it early, the timer repairs lost hints."""
        with self._lock:
            busy = set(self._busy)
        recover.end_stale(self._desk)
        for run, result in recover.ended(self._desk, busy):
            self._submit(run.id, recover.settle, self._desk, run, result)
        review.reuse(self._desk)
        self._dispatch(claim.next_qa, review.start)
        self._dispatch(claim.next_dev, develop.start)
        return 1.0 if busy else IDLE_S

    def _dispatch(
        self,
        find: Callable[[Desk], Taken | None],
        begin: Callable[[Desk, Taken], None],
    ) -> None:
        while not self._desk.stop.is_set():
            taken = find(self._desk)
            if taken is None:
                return
            self._desk.log("claimed", task=taken.task.id, run=taken.run.id, agent=taken.agent.name)
            self._submit(taken.run.id, _begin, self._desk, begin, taken)

    def _submit(self, run: int, function: Callable[..., None], *arguments: object) -> None:
        with self._lock:
            self._busy.add(run)
        self._pool.submit(function, *arguments).add_done_callback(
            lambda future: self._done(run, future)
        )

    def _done(self, run: int, future: Future[None]) -> None:
        with self._lock:
            self._busy.discard(run)
        error = future.exception()
        if error is not None:
            self._desk.failed("work", error)

    def close(self) -> None:
        """Waits for what is being laid or settled; the processes themselves go on."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _begin(desk: Desk, begin: Callable[[Desk, Taken], None], taken: Taken) -> None:
    try:
        begin(desk, taken)
    except Exception as error:
        if not isinstance(error, ClawdError | OSError):
            desk.failed("start", error)
        recover.could_not_start(desk, taken.run, error)


class Plan:
    """Reads the roadmap when it changes, and sees that goals get specified and planned."""

    def __init__(self, desk: Desk, wake: Callable[[], None]) -> None:
        self._desk, self._wake = desk, wake
        self._watches: dict[int, RoadmapWatch] = {}
        self._look_at: dict[int, float] = {}
        self._pass_at: dict[int, float] = {}

    def tick(self) -> float:
        """Looks at files that may have changed; calls a model only for items that did."""
        desk = self._desk
        with desk.db() as db:
            cared_for = projects.active(db)
        for project in cared_for:
            self._watch(project)
            if monotonic() >= self._look_at.get(project.id, 0.0):
                self._look_at[project.id] = monotonic() + desk.config.roadmap.poll_s
                roadmap.read(desk, project, again=self._pass_is_due(project))
            plan.start_pm(desk, project)
        self._plan_goals({project.id: project for project in cared_for})
        return min(IDLE_S, desk.config.roadmap.poll_s)

    def _pass_is_due(self, project: Project) -> bool:
        """A full pass now and then, even when the file's hash says that nothing changed."""
        due = monotonic() >= self._pass_at.get(project.id, 0.0)
        if due:
            self._pass_at[project.id] = monotonic() + 60 * self._desk.config.roadmap.pass_minutes
        return due

    def _plan_goals(self, by_id: dict[int, Project]) -> None:
        with self._desk.db() as db:
            waiting = goals.plannable(db)
        for goal in waiting:
            if goal.project in by_id and not plan.start_planner(
                self._desk, by_id[goal.project], goal
            ):
                return

    def _watch(self, project: Project) -> None:
        if project.id in self._watches:
            return
        path = Path(project.path) / roadmap.ROADMAP

        def changed() -> None:
            self._look_at[project.id] = 0.0
            self._wake()

        self._watches[project.id] = RoadmapWatch(
            [path], changed, debounce_s=self._desk.config.roadmap.debounce_s
        )

    def close(self) -> None:
        """Ends the watches."""
        for watch in self._watches.values():
            watch.stop()


class Check:
    """Runs the acceptance of new candidates, as many at once as there are spare cores."""

    def __init__(self, desk: Desk, wake: Callable[[], None]) -> None:
        self._desk, self._wake = desk, wake
        slots = max(1, (os.cpu_count() or 2) // 2)
        self._pool = ThreadPoolExecutor(slots, thread_name_prefix="check")
        self._busy: set[int] = set()

    def tick(self) -> float:
        """Hands every unchecked candidate to a worker, once."""
        with self._desk.db() as db:
            by_id = {p.id: p for p in projects.active(db)}
        for task in check.due(self._desk):
            if task.id not in self._busy and task.project in by_id:
                self._busy.add(task.id)
                future = self._pool.submit(self._check, by_id[task.project], task)
                future.add_done_callback(lambda done: self._wake())
        return IDLE_S

    def _check(self, project: Project, task: Task) -> None:
        try:
            check.check(self._desk, project, task)
        except Exception as error:
            self._desk.failed("check", error)
        finally:
            self._busy.discard(task.id)

    def close(self) -> None:
        """Waits for the checks under way; the stop event ends them."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class Merge:
    """Keeps main judged, runs the train, proves what landed, ticks what is done."""

    def __init__(self, desk: Desk, wake: Callable[[], None]) -> None:
        self._desk = desk
        self._train = Train(desk, wake)
        self._patrol_at: dict[int, float] = {}
        self._refresh_at: dict[int, float] = {}
        self._refill_at: dict[int, float] = {}

    def close(self) -> None:
        """Ends the tests under way."""
        self._train.close()

    def _next_patrol(self) -> float:
        return monotonic() + 60 * self._desk.config.train.retest_minutes

    def tick(self) -> float:
        """One step of every project's train."""
        again = False
        with self._desk.db() as db:
            cared_for = projects.active(db)
        for project in cared_for:
            if self._desk.stop.is_set():
                break
            again = self._turn(project) or again
        if again:
            return 0.0
        due = [
            at[p.id] for p in cared_for for at in (self._refresh_at, self._refill_at) if p.id in at
        ]
        return max(min(due) - monotonic(), 0.2) if due else IDLE_S

    def _turn(self, project: Project) -> bool:
        desk = self._desk
        if project.id not in self._patrol_at:
            patrol.compare_with_hub(desk, project)
            self._patrol_at[project.id] = self._next_patrol()
        current = self._refreshed(project)
        if monotonic() >= self._patrol_at[project.id] and current.baseline_verdict == "green":
            desk.log("patrol", project=project.slug, found=patrol.retest(desk, current))
            self._patrol_at[project.id] = self._next_patrol()
        moved = False
        if not self._paused(current):
            moved = undo.turn(desk, current) or self._train.turn(current)
        with desk.db() as db:
            landed = [t for t in tasks.in_state(db, "verifying") if t.project == project.id]
        for task in landed:
            verify.prove(desk, current, task)
        closed = verify.close_goals(desk)
        # Boxes wait until the train stands: a tick is tested too, and several go into one commit.
        still = not moved and self._train.is_idle(current) and not self._paused(current)
        ticked = still and verify.tick(desk, current)
        again = moved or bool(closed) or ticked
        if again:
            self._refresh_at.pop(project.id, None)
        else:
            self._refill(current)
        return again

    def _refreshed(self, project: Project) -> Project:
        """Git is asked when main may have moved or something may land, not at every hint."""
        recent = monotonic() < self._refresh_at.get(project.id, 0.0)
        if recent and project.baseline_verdict == "green" and not self._may_land(project):
            return project
        current = baseline.refresh(self._desk, project)
        self._refresh_at[project.id] = monotonic() + IDLE_S
        return current

    def _may_land(self, project: Project) -> bool:
        with self._desk.db() as db:
            near = tasks.in_state(db, "merging", "verifying")
            return any(t.project == project.id for t in near) or bool(
                landings.asked(db, project.id)
            )

    def _refill(self, project: Project) -> None:
        """Spare clones are made when the run that took one is on its way, not beside its start."""
        stock = self._desk.warm(project)
        if len(stock.ready()) >= stock.size:
            return
        if monotonic() >= self._refill_at.setdefault(project.id, monotonic() + REFILL_AFTER_S):
            del self._refill_at[project.id]
            stock.refill(self._desk.hub(project).resolve(project.main_ref))

    def _paused(self, project: Project) -> bool:
        """A pause stops claims and landings; runs under way go on."""
        with self._desk.db() as db:
            return self._desk.freeze_file.exists() or any(
                p["scope"] == "all" or (p["scope"] == "project" and p["key"] == project.slug)
                for p in projects.pauses(db)
                if p["key"] != projects.AGENTS
            )


class Beat:
    """Says that this host lives, keeps its leases, scans for those of hosts that do not."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._boot = _boot_id()
        self._awake = Awake()
        self._seen = (time(), monotonic())
        self._due = {"heartbeat": 0.0, "scan": 0.0, "alarm": 0.0, "trim": 0.0}

    def tick(self) -> float:
        """Own leases first, then everybody else's."""
        desk, lease = self._desk, self._desk.config.lease
        desk.beat_file.touch()
        self._after_sleep()
        notify.tell(notify.WATCHDOG)
        if self._is_due("heartbeat", lease.heartbeat_s):
            with desk.db() as db:
                projects.beat_host(db, desk.host, self._boot, desk.config.limits.max_live)
                self._awake.keep(bool(runs.live(db, desk.host)))
            recover.heartbeat(desk)
        if self._is_due("scan", lease.scan_s):
            recover.scan(desk)
        if self._is_due("alarm", 60):
            with desk.db() as db:
                report.idle_alarm(db, views.overview(db))
        if self._is_due("trim", 3600):
            with desk.db() as db:
                outbox.trim_feed(db, FEED_ROWS_KEPT)
        return min(float(lease.heartbeat_s), float(lease.scan_s), 10.0)

    def close(self) -> None:
        """Lets the machine sleep again."""
        self._awake.keep(False)

    def _after_sleep(self) -> None:
        """Slept or set clock: own leases first, and nobody else's is judged for one lease more."""
        wall, steady = time(), monotonic()
        gap_s = (wall - self._seen[0]) - (steady - self._seen[1])
        self._seen = (wall, steady)
        if abs(gap_s) > JUMP_S:
            self._desk.log("clock_jumped", seconds=round(gap_s))
            self._due["heartbeat"] = 0.0
            self._due["scan"] = steady + self._desk.config.lease.lease_s

    def _is_due(self, what: str, every_s: float) -> bool:
        if monotonic() < self._due[what]:
            return False
        self._due[what] = monotonic() + every_s
        return True


class Care:
    """Throws away what is past its days and backs the database up, once an hour."""

    def __init__(self, desk: Desk, conninfo: str) -> None:
        self._desk, self._conninfo = desk, conninfo
        self._due = monotonic() + 300  # never in the way of a start

    def tick(self) -> float:
        """One round an hour; hints do not hurry it."""
        left_s = self._due - monotonic()
        if left_s > 0:
            return left_s
        retention.care(self._desk, self._conninfo)
        self._due = monotonic() + 3600
        return 3600.0


class Watch:
    """Follows the streams of living runs for the board and the delivery receipts."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._follower = Follower()

    def tick(self) -> float:
        """A second while anything lives, else until somebody wakes it."""
        return 1.0 if self._follower.follow(self._desk) else 60.0


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"
