"""What the machine does to clawd: it sleeps, its clock is set, its disk is full."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from psycopg.types.json import Jsonb

from clawd.loops import beat
from clawd.pipeline import claim
from clawd.store import breakers, moves, projects
from tests.whole import small_disk
from tests.whole.line import FILES, Line, open_line

ELSEWHERE = "another-host"


def _held_elsewhere(line: Line) -> int:
    """A task that a reviewer of another host holds."""
    task = line.add("Elsewhere")
    line.until(task, "review", stages=("settle", "dev"))
    line.check()
    with line.desk.db() as db:
        agent = db.execute("select id from agent where name = 'qa-2'").fetchone()
        assert agent is not None
        wanted = {"limits": {"day": claim.day_of(line.desk.now())}}
        assert moves.claim(db, moves.Claim(
            (task,), "qa", agent["id"], ELSEWHERE, timedelta(seconds=90), wanted, "by hand"
        ))  # fmt: skip
    return task


def _lease_left_s(line: Line, task: int) -> float:
    found = line.rows(
        "select extract(epoch from lease_until - clawd_now())::float as s from task where id = %s",
        task,
    )
    return float(found[0]["s"])


class Sleep:
    """The wall clock that goes on while the machine sleeps; the steady one stands still."""

    def __init__(self, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
        self._line, self._shift, self._wall = line, 0.0, beat.time
        monkeypatch.setattr(beat, "time", lambda: self._wall() + self._shift)

    def for_s(self, seconds: float) -> None:
        self._shift += seconds
        self._line.advance(seconds=seconds)


def test_after_a_sleep_own_leases_come_first_and_nobody_else_is_judged_for_one_lease_more(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = _held_elsewhere(line)
    mine = line.add("Mine", "[behave: hang]")
    line.dev()
    sleep, heart = Sleep(line, monkeypatch), beat.Beat(line.desk)
    heart.tick()

    sleep.for_s(3600)
    assert _lease_left_s(line, mine) < 0
    heart._due["scan"] = 0.0  # the next scan is due, as after most sleeps
    heart.tick()
    assert _lease_left_s(line, mine) > 60
    assert line.task(theirs).leased_by_run is not None
    assert "lose" not in line.events(theirs) + line.events(mine)

    heart._due["scan"] = 0.0  # one lease later
    heart.tick()
    assert line.task(theirs).leased_by_run is None
    assert line.events(theirs)[-1] == "lose"
    assert "lose" not in line.events(mine)
    heart.close()


def test_a_clock_that_is_set_back_costs_nobody_a_lease(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = line.add("Mine", "[behave: hang]")
    line.dev()
    sleep, heart = Sleep(line, monkeypatch), beat.Beat(line.desk)
    heart.tick()
    sleep.for_s(-7200)
    heart.tick()
    assert 60 < _lease_left_s(line, mine) < 120
    assert "lose" not in line.events(mine)
    heart.close()


def test_after_a_pause_of_the_account_one_run_tries_it_and_the_others_follow(line: Line) -> None:
    made = [line.add(f"Waiting {n}") for n in range(3)]
    with line.desk.db() as db:
        until = line.desk.now() + timedelta(minutes=5)
        projects.pause(db, "all", projects.AGENTS, "rate_limited", "run 1", until)
    assert line.dev() == 0
    line.advance(minutes=6)
    assert line.dev() == 1
    line.ended()
    assert line.dev() == 0, "nobody knows yet how it went"
    line.settle()
    assert line.dev() == 2
    for task in made:
        line.until(task, "done")


def test_a_trial_that_meets_the_same_wall_pauses_everybody_again(line: Line) -> None:
    line.add("Limited", "[behave: limit 4102444800]")
    line.add("Other")
    with line.desk.db() as db:
        until = line.desk.now() + timedelta(minutes=5)
        projects.pause(db, "all", projects.AGENTS, "rate_limited", "run 1", until)
    line.advance(minutes=6)
    assert line.dev() == 1
    line.ended()
    line.settle()
    assert line.dev() == 0
    with line.desk.db() as db:
        assert [pause["key"] for pause in projects.pauses(db)] == [projects.AGENTS]


def test_a_task_far_behind_is_found_when_all_before_it_wait_for_the_same_files(line: Line) -> None:
    line.add("Holder", "[behave: hang]", scope=("notes/shared.md",))
    assert line.dev() == 1
    for number in range(25):
        line.add(f"Held {number}", scope=("notes/shared.md",))
    free = line.add("Free", scope=("notes/free.md",))
    assert line.dev() == 1
    assert line.task(free).state == "running"


def test_tasks_on_the_same_files_run_beside_each_other_only_where_that_is_allowed(
    line: Line,
) -> None:
    for number in range(2):
        line.add(f"Same {number}", "[behave: hang]", scope=("notes/shared.md",))
    assert line.dev() == 1
    with line.desk.db() as db:
        settings = {**line.project().settings, "overlap": True}
        projects.note(db, line.project().id, settings=Jsonb(settings))
    assert line.dev() == 1


def test_a_task_is_not_kept_for_an_agent_that_rests(line: Line) -> None:
    task = line.add("Kept", "[behave: revise]")
    line.until(task, "review", stages=("settle", "dev"))
    line.until(task, "backlog", stages=("settle", "check", "reuse", "qa"))
    author = line.runs(task, "dev")[0].agent
    with line.desk.db() as db:
        row = db.execute("select name from agent where id = %s", (author,)).fetchone()
        assert row is not None
        for _ in range(4):
            breakers.note(db, "agent", row["name"], ok=False, now=line.desk.now())
    assert line.dev() == 1
    assert line.runs(task, "dev")[1].agent != author


def test_nothing_starts_on_a_machine_whose_processes_wait_for_it(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = line.add("Waits")
    monkeypatch.setattr(claim.os, "getloadavg", lambda: (10_000.0, 1.0, 1.0))
    assert claim.next_dev(line.desk) is None
    assert "processes wait for each core" in claim.short_of(line.desk)[0]
    monkeypatch.undo()
    line.until(task, "done")


@pytest.fixture
def cramped(home: Path, database: str, make_repo: Callable[..., Path]) -> Iterator[Line]:
    with (
        small_disk.mounted(home),
        open_line(home, database, {"sample": make_repo(FILES)}) as opened,
    ):
        yield opened


def test_nothing_is_claimed_while_the_disk_is_nearly_full(cramped: Line) -> None:
    task = cramped.add("Waits")
    ballast = small_disk.fill(cramped.home, leave_bytes=600_000)
    assert claim.next_dev(cramped.desk) is None
    assert cramped.task(task).state == "backlog"
    ballast.unlink()
    cramped.until(task, "done")
