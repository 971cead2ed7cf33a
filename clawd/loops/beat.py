"""Signs of life: leases, the watchdog, the streams of live runs, hourly care."""

from __future__ import annotations

from pathlib import Path
from time import monotonic, time

from clawd.adapters import notify
from clawd.adapters.awake import Awake
from clawd.pipeline import (
    claim,
    recover,
    report,
    retention,
)
from clawd.pipeline.desk import Desk
from clawd.pipeline.recover import Follower
from clawd.store import outbox, projects, runs, views

# Wall and steady clock drift apart by less than this unless the machine slept.
JUMP_S = 30.0
FEED_ROWS_KEPT = 10_000


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
                report.idle_alarm(db, views.overview(db), claim.short_of(desk))
                if not claim.has_disk(desk):
                    report.disk_is_full(db, desk.config.limits.free_disk_percent)
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
