"""What the loops do while the database or the disk gives out: wait longer, say it once, go on."""

from __future__ import annotations

import errno
import logging
import random
import threading
from collections.abc import Callable
from time import monotonic

import psycopg

from clawd.adapters import postgres
from clawd.errors import ClawdError
from clawd.pipeline.desk import Desk
from clawd.store import outbox

_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 15.0
_WORTH_TELLING_S = 3.0
_DISK_IS_FULL = "No space left on device"


def is_outage(error: Exception) -> bool:
    """Whether nothing is wrong with us: time or a person ends it, and the same step works again."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return postgres.is_transient(error) or _DISK_IS_FULL in str(error)


class Outage:
    """One outage seen by every loop: told when it begins and once more when it is over."""

    def __init__(self, desk: Desk, revive: Callable[[], object]) -> None:
        self._desk, self._revive = desk, revive
        self._lock = threading.Lock()
        self._since: float | None = None
        self._why = ""

    def met(self, error: Exception, in_a_row: int) -> float:
        """A loop ran into it; how long it waits before it tries again."""
        with self._lock:
            if self._since is None:
                self._since, self._why = monotonic(), _first_line(error)
                self._desk.log("outage", level=logging.ERROR, why=self._why)
            self._try_to_revive()
        wait_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * (1 << min(in_a_row, 10)))
        return wait_s * random.uniform(0.8, 1.2)

    def heard_it_die(self, _error: Exception) -> None:
        """The listener hears at once what the pool would only find out after its own patience."""
        if not self._desk.stop.is_set():
            with self._lock:
                self._try_to_revive()

    def _try_to_revive(self) -> None:
        try:
            self._revive()
        except (ClawdError, OSError, psycopg.Error) as still:
            self._desk.log("outage_goes_on", why=_first_line(still))

    def over(self) -> None:
        """A loop got through again; the operator hears of it once."""
        with self._lock:
            if self._since is None:
                return
            away_s = monotonic() - self._since
            text = f"clawd waited {away_s:.0f} s and went on by itself: {self._why}"
            now = self._desk.now()
            if away_s > _WORTH_TELLING_S:
                with self._desk.db() as db:
                    outbox.put(db, "notice", {"text": text}, f"outage:{now:%Y-%m-%dT%H:%M:%S}")
            self._desk.log("outage_over", away_s=round(away_s, 1))
            self._since = None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
