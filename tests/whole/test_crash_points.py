"""A few deaths of the daemon at named points; `make prove` goes through all of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from clawd import steer
from clawd.adapters import process
from clawd.pipeline import ending
from tests.prove import ground
from tests.prove.deaths import die_at
from tests.prove.scenes import SCENES
from tests.whole.line import DEV, Line, wait_for

# Quick for the agent, which tries it in its workspace; slow, with a child, for the daemon.
SLOW_CHECK = "test -d .clawd || { (setsid sleep 61 &) ; sleep 61; }"


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


def test_a_check_that_nobody_wants_any_more_is_ended_at_the_next_start(line: Line) -> None:
    wanted = line.add("Unwanted", accept=(SLOW_CHECK,))
    mark = f"{line.desk.mark}-check-"
    first = ground.start(line)
    try:
        wait_for(lambda: len(process.find_marked(mark)) >= 2, 60)
        first.send_signal(signal.SIGKILL)
        first.wait(10)
    finally:
        ground.end(line, first)
    with line.desk.db() as db:
        steer.cancel_task(db, wanted)
    with ground.running(line):
        wait_for(lambda: not process.find_marked(mark), 20, ground.said(line))


def test_what_a_check_left_when_its_keeper_was_killed_too_is_ended(line: Line) -> None:
    wanted = line.add("Unwanted", accept=(SLOW_CHECK,))
    mark = f"{line.desk.mark}-check-"
    first = ground.start(line)
    try:
        wait_for(lambda: len(process.find_marked(mark)) >= 2, 60)
        first.send_signal(signal.SIGKILL)
        for keeper in ground.keepers(line):
            os.kill(keeper, signal.SIGKILL)
        first.wait(10)
    finally:
        ground.end(line, first)
    assert process.find_marked(mark), "nothing was left: this shows nothing"
    with line.desk.db() as db:
        steer.cancel_task(db, wanted)
    with ground.running(line):
        wait_for(lambda: not process.find_marked(mark), 20, ground.said(line))


def test_an_agent_that_kills_its_keeper_each_time_is_given_up(line: Line) -> None:
    task = line.add("Killer", "[behave: hang]")
    for _ in range(ending.LOST_IN_A_ROW):
        line.until(task, "running", stages=DEV)
        for keeper in wait_for(lambda: ground.keepers(line)):
            os.kill(keeper, signal.SIGKILL)
        wait_for(lambda: not ground.keepers(line))
        line.drive(lambda: line.task(task).state != "running", ("settle",))
    found = line.task(task)
    assert (found.state, found.reason, found.tries) == ("parked", "lost", 0)
    assert "in a row were lost" in line.story()


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
