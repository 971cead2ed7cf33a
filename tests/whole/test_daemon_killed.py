"""kill -9 of the daemon with runs in flight: nothing is lost, nothing finished is repeated."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clawd.adapters import process
from clawd.running import launch
from tests.whole.line import FILES, TEST_COMMAND, Line, daemon_thread, open_line, wait_for

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


IN_FLIGHT = 5


@pytest.fixture
def five(home: Path, database: str, make_repo: Callable[..., Path]) -> Iterator[Line]:
    """A line whose five developers may work at once."""
    repo = make_repo(FILES)
    team = {
        "agents.dev": {"count": IN_FLIGHT},
        "limits.max_live": IN_FLIGHT + 2,
        "projects": {"sample": {"path": str(repo), "test": TEST_COMMAND, "max_agents": IN_FLIGHT}},
    }
    with open_line(home, database, {"sample": repo}, team) as opened:
        yield opened


def _clawd(line: Line, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "clawd", "--home", str(line.home), *words],
        cwd=REPO, env={**os.environ, "CLAWD_DATABASE_URL": line.conninfo},
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip


def _five_slow(line: Line) -> list[int]:
    slow = [line.add(f"Slow {number}", "[behave: sleep 5]") for number in range(IN_FLIGHT)]
    return [*slow, line.add("Quick")]


def _all_done_once(line: Line, made: list[int], fences: dict[int, int]) -> None:
    wait_for(lambda: all(line.task(task).state == "done" for task in made), 90, line.story())
    for task in made:
        assert len(line.runs(task, "dev")) == 1
        assert line.task(task).tries == 0
    for task, fence in fences.items():
        assert line.runs(task, "dev")[0].fence == fence
    line.assert_sound()


def _in_flight(line: Line) -> dict[int, int]:
    """The tasks of the five that work, with the fences they hold."""
    wait_for(lambda: len(_executing(line)) >= IN_FLIGHT)
    held = line.rows("select id, fence from task where state = 'running'")
    return {row["id"]: row["fence"] for row in held}


def test_kill_9_with_five_runs_in_flight_loses_nothing_and_repeats_nothing(five: Line) -> None:
    made = _five_slow(five)
    with _daemon(five) as first:
        fences = _in_flight(five)
        first.send_signal(signal.SIGKILL)
        first.wait(10)
    agents = [launch.look(five.desk.run_folder(run)) for run in _executing(five)]
    assert all(isinstance(state, launch.Alive | launch.Ended) for state in agents)
    with _daemon(five):
        _all_done_once(five, made, fences)
    assert process.find_marked(five.desk.mark) == {}


def test_a_restart_with_five_runs_in_flight_ends_none_of_them(five: Line) -> None:
    made = _five_slow(five)
    assert _clawd(five, "up").returncode == 0
    try:
        fences = _in_flight(five)
        restarted = _clawd(five, "restart")
        assert restarted.returncode == 0, restarted.stderr
        _all_done_once(five, made, fences)
    finally:
        _clawd(five, "down")
    assert process.find_marked(five.desk.mark) == {}


def test_a_daemon_that_stops_in_order_ends_its_runs_and_charges_nobody(line: Line) -> None:
    task = line.add("Endless", "[behave: hang]")
    with daemon_thread(line):
        wait_for(lambda: _executing(line))
    line.settle()
    found = line.task(task)
    assert (found.state, found.reason, found.tries) == ("backlog", "restarted", 0)
    assert process.find_marked(line.desk.mark) == {}
    line.assert_sound()
