"""Names processes for certain and finds the ones a run left behind.

A pid alone is not a name: it is reused. Pid and start time together are. A run's processes
carry `CLAWD_RUN=<marker>` in their environment, so they are found whoever their parent is now.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MARKER_VARIABLE = "CLAWD_RUN"
QUIET_SCANS = 3  # one is no proof: a process may fork and leave while the list is being read
_PROC = Path("/proc")
_ON_LINUX = Path("/proc/self/stat").exists()


@dataclass(frozen=True, slots=True)
class Identity:
    """One process, never another one with the same pid."""

    pid: int
    start_time: int


def identity(pid: int) -> Identity | None:
    """Who has this pid now; None for nobody and for a zombie."""
    start_time = _linux_start_time(pid) if _ON_LINUX else _portable_start_time(pid)
    return None if start_time is None else Identity(pid, start_time)


def alive(pid: int, start_time: int) -> bool:
    """Whether that very process still runs; start time 0 means it was not known."""
    found = identity(pid)
    return found is not None and start_time in (0, found.start_time)


def find_marked(prefix: str = "") -> dict[int, str]:
    """Every process whose run marker starts with `prefix`: its pid and its whole marker."""
    found = {}
    for pid in _pids():
        marker = _marker_of(pid)
        if marker and marker.startswith(prefix) and pid != os.getpid():
            found[pid] = marker
    return found


def kill_marked(marker: str, deadline_s: float = 5.0) -> int:
    """Kill everything that carries exactly this marker; how many processes that were."""
    if not marker:
        raise ValueError("an empty marker would match nothing or everything")
    killed: set[int] = set()
    pause, quiet = threading.Event(), 0
    for _ in range(max(QUIET_SCANS, int(deadline_s / 0.02))):
        left = [pid for pid, found in find_marked(marker).items() if found == marker]
        killed.update(pid for pid in left if _kill_if_marked(pid, marker))
        quiet = 0 if left else quiet + 1
        if quiet == QUIET_SCANS:
            break
        pause.wait(0.02)
    return len(killed)


def signal_process(who: Identity, number: int) -> bool:
    """Send a signal to that very process; False when it is gone."""
    try:
        if not hasattr(os, "pidfd_open"):
            if not alive(who.pid, who.start_time):
                return False
            os.kill(who.pid, number)
            return True
        handle = os.pidfd_open(who.pid)
    except (ProcessLookupError, PermissionError):
        return False
    try:
        if not alive(who.pid, who.start_time):
            return False
        signal.pidfd_send_signal(handle, number)
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        os.close(handle)
    return True


def _kill_if_marked(pid: int, marker: str) -> bool:
    who = identity(pid)
    return who is not None and _marker_of(pid) == marker and signal_process(who, signal.SIGKILL)


def _pids() -> Iterator[int]:
    if _ON_LINUX:
        for name in os.listdir(_PROC):
            if name.isdigit():
                yield int(name)
        return
    import psutil  # noqa: PLC0415 - slow to import and only needed without /proc

    yield from psutil.pids()


def _marker_of(pid: int) -> str | None:
    if not _ON_LINUX:
        return _portable_marker(pid)
    try:
        environ = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return None
    wanted = MARKER_VARIABLE.encode() + b"="
    for entry in environ.split(b"\0"):
        if entry.startswith(wanted):
            return entry[len(wanted) :].decode("utf-8", "replace")
    return None


def _linux_start_time(pid: int) -> int | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text("utf-8", "replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before ")" may hold spaces and brackets
    return None if fields[0] in "ZX" else int(fields[19])


def _portable_start_time(pid: int) -> int | None:
    import psutil  # noqa: PLC0415

    try:
        found = psutil.Process(pid)
        if found.status() == psutil.STATUS_ZOMBIE:
            return None
        return int(found.create_time() * 1000)
    except psutil.Error:
        return None


def _portable_marker(pid: int) -> str | None:
    import psutil  # noqa: PLC0415

    try:
        return psutil.Process(pid).environ().get(MARKER_VARIABLE)
    except (psutil.Error, OSError):
        return None
