"""kill -9 of the daemon with runs in flight: nothing is lost, nothing finished is repeated."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clawd.adapters import process
from clawd.running import launch
from tests.whole.line import Line, daemon_thread, wait_for

REPO = Path(__file__).parents[2]


@contextmanager
def _daemon(line: Line) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon in a process of its own."""
    running = subprocess.Popen(
        [sys.executable, "-m", "clawd", "up", "--foreground", "--home", str(line.home)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=REPO,
        env={**os.environ, "CLAWD_DATABASE_URL": line.conninfo},
        start_new_session=True,
    )
    try:
        yield running
    finally:
        if running.poll() is None:
            running.terminate()
            running.wait(60)


def _executing(line: Line) -> list[int]:
    rows = line.rows("select id from run where delivered_at is not null and ended_at is null")
    return [row["id"] for row in rows]


def test_kill_9_with_runs_in_flight_loses_nothing_and_repeats_nothing(line: Line) -> None:
    slow = [line.add(f"Slow {number}", "[behave: sleep 4]") for number in range(2)]
    quick = line.add("Quick")
    with _daemon(line) as first:
        wait_for(lambda: len(_executing(line)) >= 2)
        first.send_signal(signal.SIGKILL)
        first.wait(10)
    agents = [launch.look(line.desk.run_folder(run)) for run in _executing(line)]
    assert all(isinstance(state, launch.Alive | launch.Ended) for state in agents)
    fences = {task: line.task(task).fence for task in slow}
    with _daemon(line):
        wait_for(lambda: all(line.task(t).state == "done" for t in (*slow, quick)), 90)
    for task in (*slow, quick):
        assert len(line.runs(task, "dev")) == 1
        assert line.task(task).tries == 0
    assert all(line.runs(task, "dev")[0].fence == fences[task] for task in slow)
    assert process.find_marked(line.desk.mark) == {}
    line.assert_sound()


def test_a_daemon_that_stops_in_order_ends_its_runs_and_charges_nobody(line: Line) -> None:
    task = line.add("Endless", "[behave: hang]")
    with daemon_thread(line):
        wait_for(lambda: _executing(line))
    line.settle()
    found = line.task(task)
    assert (found.state, found.reason, found.tries) == ("backlog", "restarted", 0)
    assert process.find_marked(line.desk.mark) == {}
    line.assert_sound()
