"""A few deaths of the daemon at named points; `make prove` goes through all of them."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from clawd.adapters import process
from tests.prove import ground
from tests.prove.deaths import die_at
from tests.prove.scenes import SCENES
from tests.whole.line import Line, wait_for


@pytest.mark.parametrize(
    ("point", "scene"),
    [
        ("spawn.mid", "plain"),
        ("snapshot.mid", "plain"),
        ("land.mid", "plain"),
        ("undo.mid", "undo"),
    ],
)
def test_a_death_in_the_middle_of_an_effect_loses_nothing(
    point: str, scene: str, home: Path, database: str, make_repo: Callable[..., Path]
) -> None:
    die_at(point, SCENES[scene], home, database, make_repo)


def test_a_check_that_a_dead_daemon_left_running_is_ended_and_made_again(line: Line) -> None:
    task = line.add("Long", accept=("sleep 9 && test -f notes/long.md",))
    first = ground.start(line)
    try:
        wait_for(lambda: process.find_marked(f"{line.desk.mark}-check-"), 60)
        left = set(process.find_marked(f"{line.desk.mark}-check-"))
        first.send_signal(signal.SIGKILL)
        first.wait(10)
    finally:
        ground.end(line, first)
    with ground.running(line):
        wait_for(lambda: not left & set(process.find_marked(line.desk.mark)), 5.5)
        wait_for(lambda: line.task(task).state == "done", 60, line.story())
    assert line.rows("select from test_verdict where verdict <> 'green'") == []
    assert line.task(task).tries == 0
    assert ground.violations(line) == []


def test_of_two_daemons_started_at_one_moment_one_works_and_one_says_so(line: Line) -> None:
    both = [ground.start(line), ground.start(line)]
    try:
        wait_for(lambda: [each for each in both if each.poll() is not None], 60)
        ended = [each for each in both if each.poll() is not None]
        assert len(ended) == 1
        assert ended[0].returncode not in (0, None)
        assert "Another clawd" in ground.said(line)
        assert "Traceback" not in ground.said(line)
        task = line.add("Once")
        wait_for(lambda: line.task(task).state == "done", 60, line.story())
    finally:
        for each in both:
            ground.end(line, each)
    assert ground.violations(line) == []
