"""Whatever a run starts is gone when the run is: also after kill -9 of its keeper or the daemon.

The keeper's own part (double fork, setsid, nohup, an empty environment, every kind of end) is
tests/parts/test_keeper.py; here the daemon is the one that notices.
"""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from tests.prove import ground
from tests.whole.line import Line, wait_for

pytestmark = pytest.mark.prove


def _orphans(line: Line) -> list[int]:
    """The children the agent left behind, as it noted them itself."""
    notes = list(line.home.glob("tasks/*/work-*/.clawd/orphans.txt"))
    return [int(pid) for note in notes for pid in note.read_text().split()]


def _alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if psutil.pid_exists(pid)
            and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]  # fmt: skip


def test_the_children_of_a_run_that_ended_well_are_gone(line: Line) -> None:
    task = line.add("Orphans", "[behave: orphan]")
    seen: set[int] = set()
    with ground.running(line):
        wait_for(lambda: seen.update(_orphans(line)) or line.task(task).state == "done")
    assert len(seen) == 3
    assert _alive(sorted(seen)) == []
    assert ground.violations(line) == []


@pytest.mark.parametrize("victim", ["keeper", "daemon and keeper"])
def test_what_a_killed_keeper_leaves_is_swept(line: Line, victim: str) -> None:
    line.add("Orphans", "[behave: orphan first 1] [behave: sleep 20 first 1]")
    first = ground.start(line)
    try:
        wait_for(lambda: len(_orphans(line)) == 3 and ground.keepers(line))
        left = _orphans(line)
        if victim != "keeper":
            first.send_signal(signal.SIGKILL)
            first.wait(10)
        for pid in ground.keepers(line):
            os.kill(pid, signal.SIGKILL)
        if victim == "keeper":
            wait_for(lambda: not _marked_alive(left), 20)
    finally:
        ground.end(line, first)
    with ground.running(line):
        wait_for(lambda: not _marked_alive(left), 20)
        ground.until(line, lambda: ground.is_quiet(line))
    assert ground.violations(line) == []
    for pid in _alive(left):  # an empty environment hides from a sweep by marker, see the keeper
        os.kill(pid, signal.SIGKILL)


def _marked_alive(pids: list[int]) -> list[int]:
    return [pid for pid in _alive(pids) if _has_marker(pid)]


def _has_marker(pid: int) -> bool:
    try:
        return "CLAWD_RUN" in psutil.Process(pid).environ()
    except psutil.Error:
        return False
