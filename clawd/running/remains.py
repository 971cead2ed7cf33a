"""Finds and kills what a run leaves behind, for the keeper.

Standard library only, few imports. By marker everywhere; without a cage also by descent, because
the keeper adopts orphans and so even a process that cleared its environment stays its descendant.
"""

from __future__ import annotations

import os
import select
import signal

SWEEP_ROUNDS = 200
QUIET_SCANS = 2  # one is no proof: a process may fork and leave while the list is being read
ON_LINUX = os.path.exists("/proc/self/stat")


def sweep(marker: str, orphans: bool) -> int:
    """Kill what carries the marker, and uncaged also every descendant; how many there were."""
    gone: set[int] = set()
    quiet, enough = 0, QUIET_SCANS if orphans else 1  # the kernel empties a cage in one stroke
    for _ in range(SWEEP_ROUNDS):
        found = marked(marker) | (descendants(os.getpid()) if orphans else set())
        found = {pid for pid in found if start_time(pid) or not ON_LINUX}  # zombies are gone
        for pid in found:
            send(pid, signal.SIGKILL)
        gone |= found
        quiet = 0 if found else quiet + 1
        if quiet == enough:
            break
        select.select((), (), (), 0.01)
        reap_orphans()
    return len(gone)


def marked(marker: str) -> set[int]:
    if not ON_LINUX:
        return marked_by_ps(marker)
    wanted, found = b"CLAWD_RUN=" + marker.encode(), set()
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                with open(f"/proc/{name}/environ", "rb") as file:
                    if wanted in file.read().split(b"\0"):
                        found.add(int(name))
            except OSError:
                continue
    return found


def marked_by_ps(marker: str) -> set[int]:
    """macOS shows the environment of one's own processes only through ps."""
    import subprocess  # noqa: PLC0415 - slow, and never needed on Linux

    done = subprocess.run(["/bin/ps", "-axEww", "-o", "pid=,command="], capture_output=True,
                          timeout=10, check=False)  # fmt: skip
    rows = [line.split() for line in done.stdout.decode("utf-8", "replace").splitlines()]
    return {int(row[0]) for row in rows if f"CLAWD_RUN={marker}" in row} - {os.getpid()}


def descendants(root: int) -> set[int]:
    found, rest = set(), children_of(root)
    while rest:
        pid = rest.pop()
        if pid not in found:
            found.add(pid)
            rest += children_of(pid)
    return found


def children_of(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(child) for child in file.read().split()]
    except (OSError, ValueError):
        return []


def start_time(pid: int) -> int:
    """Field 22 of /proc/PID/stat; 0 when unknown, gone or a zombie."""
    fields = read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(fields[19]) if len(fields) > 19 and fields[0] not in "ZX" else 0


def send(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def reap_orphans() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def prctl(option: int, value: int) -> None:
    if ON_LINUX:
        import ctypes  # noqa: PLC0415 - slow, and only needed without a cage

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def adopt_orphans() -> None:
    """Uncaged, a daemonised grandchild becomes our child instead of escaping to init."""
    prctl(36, 1)  # PR_SET_CHILD_SUBREAPER


def die_with_parent() -> None:
    prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def read_text(path: str, limit_bytes: int = 256 * 1024) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(limit_bytes)
    except OSError:
        return ""
