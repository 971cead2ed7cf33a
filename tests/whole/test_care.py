"""Main under care after a landing: undo with what was built on it, patrol, flakes, retention."""

from __future__ import annotations

from datetime import timedelta

import pytest

from clawd import steer
from clawd.adapters import dump
from clawd.adapters.git.intake import run_ref
from clawd.errors import Refused
from clawd.pipeline import patrol, retention, testing, undo
from clawd.store import projects
from tests.whole.line import Line, clock


def turn_undo(line: Line, times: int = 4) -> None:
    for _ in range(times):
        undo.turn(line.desk, line.project())


def test_9_undo_takes_back_what_was_built_on_it_first_and_reopens_nothing_else(line: Line) -> None:
    first = line.add("Alpha")
    line.until(first, "done")
    second = line.add("Beta", needs=[first])
    line.until(second, "done")
    other = line.add("Other")
    line.until(other, "done")
    with line.desk.db() as db:
        steer.undo(db, first)
    turn_undo(line)
    assert line.task(first).state == "rolled_back"
    assert line.task(second).state == "rolled_back"
    assert line.task(other).state == "done"
    order = line.rows("select task from landing where kind = 'revert' order by landed_at")
    assert [row["task"] for row in order] == [second, first]
    assert line.file("notes/alpha.md") is None
    assert line.file("notes/beta.md") is None
    assert line.file("notes/other.md") is not None
    line.assert_sound()


def test_an_undo_asked_twice_is_one_revert(line: Line) -> None:
    task = line.add("Once")
    line.until(task, "done")
    with line.desk.db() as db:
        steer.undo(db, task)
        with pytest.raises(Refused, match="being taken back already"):
            steer.undo(db, task)
    turn_undo(line)
    reverts = line.rows("select 1 from landing where kind = 'revert' and state = 'landed'")
    assert len(reverts) == 1


def test_several_green_cars_land_as_one_tested_tip(line: Line) -> None:
    made = [line.add(title) for title in ("One", "Two", "Three", "Four")]
    for task in made:
        line.until(task, "merging", stages=("dev", "settle", "check", "qa"))
    before = line.main()
    for task in made:
        line.until(task, "done")
    tips = line.hub_git("rev-list", "--first-parent", f"{before}..{line.main()}").splitlines()
    landed = {row["new_main"] for row in line.rows("select new_main from landing")}
    assert landed <= set(tips)
    assert set(tips) <= landed | {line.main()}
    line.assert_sound()


def set_test(line: Line, command: str) -> None:
    with line.desk.db() as db:
        projects.note(db, line.project().id, test_cmd=command)


def test_main_that_turned_red_with_its_parent_is_the_environment_and_nothing_is_taken_back(
    line: Line,
) -> None:
    task = line.add("Fine")
    line.until(task, "done")
    set_test(line, "exit 1")
    assert patrol.retest(line.desk, line.project()) == "environment"
    assert line.project().landings_held.startswith("environment")
    assert line.task(task).state == "done"
    set_test(line, "true")
    assert patrol.retest(line.desk, line.project()) == "green"
    assert line.project().landings_held == ""


def test_a_landing_that_is_red_while_its_parent_is_green_is_taken_back(line: Line) -> None:
    task = line.add("Bomb")
    line.until(task, "done")
    set_test(line, "test ! -e notes/bomb.md")
    assert patrol.retest(line.desk, line.project()) == "reverted"
    turn_undo(line)
    assert line.task(task).state == "rolled_back"
    assert line.file("notes/bomb.md") is None


def test_a_test_that_flakes_three_times_a_week_becomes_a_task(line: Line) -> None:
    project = line.project()
    seen = testing.TestVerdict("flaky", 2, 1, 10, "", "FAIL: test_x (tests.A.test_x)")
    for number in range(3):
        with line.desk.db() as db, db.transaction():
            testing.note_flake(db, project, f"{number:040x}", seen)
    titles = [row["title"] for row in line.rows("select title from task")]
    assert titles == ["Make test_x (tests.A.test_x) reliable"]


def test_folders_and_refs_go_after_their_days_and_not_before(line: Line) -> None:
    task = line.add("Old")
    line.until(task, "done")
    project, run = line.project(), line.runs(task, "dev")[0]
    hub = line.desk.hub(project)
    assert hub.head(run_ref(run.id))
    retention.care(line.desk, line.conninfo)
    assert line.desk.run_folder(run.id).is_dir()
    with line.desk.db() as db:
        clock(db, timedelta(days=15))
    retention.care(line.desk, line.conninfo)
    assert not line.desk.run_folder(run.id).exists()
    assert hub.head(run_ref(run.id)) is None
    assert line.file("notes/old.md") is not None
    assert len(dump.dumps(line.home / "backups")) == 2
