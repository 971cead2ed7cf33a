"""The stories of the state machine on real parts: the operator, the roadmap, money and limits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clawd import steer
from clawd.adapters.git import merge
from clawd.model import Goal
from clawd.pipeline import claim, roadmap
from clawd.store import approvals, goals, moves, projects, runs, tasks
from tests.whole.line import DEV, FILES, REVIEW, Line, open_line, wait_for

PLANNING = ("settle", "plan")


def _write_roadmap(line: Line, *items: str) -> None:
    text = "# Roadmap\n\n" + "".join(f"- [ ] {item}\n" for item in items)
    line.save("ROADMAP.md", text)


def _goal(line: Line, title: str) -> Goal:
    with line.desk.db() as db:
        return next(g for g in goals.of_project(db, line.project().id) if g.title == title)


def _adopt(line: Line, goal: Goal, *own: int) -> None:
    """The goal is planned, and these tasks are its plan."""
    with line.desk.db() as db:
        moves.move_goal(db, goal.id, "plan", why="by hand")
        moves.move_goal(db, goal.id, "planned", why="by hand")
        db.execute("update task set goal = %s where id = any (%s)", (goal.id, list(own)))


def _live(line: Line) -> list[Any]:
    with line.desk.db() as db:
        return list(runs.live(db))


# ------------------------------------------------------------ 9: undone


def test_9_a_landing_is_undone_after_the_one_that_was_built_on_it(line: Line) -> None:
    first = line.add("Base")
    line.until(first, "done")
    second = line.add("Above", needs=(first,))
    line.until(second, "done")
    with line.desk.db() as db:
        steer.undo(db, second)
    line.until(second, "rolled_back")
    with line.desk.db() as db:
        steer.undo(db, first)
    line.until(first, "rolled_back")
    assert line.file("notes/base.md") is None
    assert line.file("notes/above.md") is None
    kinds = line.rows("select kind, state from landing order by id")
    assert [(row["kind"], row["state"]) for row in kinds] == [
        ("land", "landed"), ("land", "landed"), ("revert", "landed"), ("revert", "landed"),
    ]  # fmt: skip
    line.assert_sound()


# ------------------------------------------------------------ 10: withdrawn while merging

OTHERS = ("Other one", "Other two", "Other three", "Other four")


def _merging_goal(line: Line) -> int:
    _write_roadmap(line, "Ship it", *OTHERS)
    roadmap.read(line.desk, line.project())
    goal = _goal(line, "Ship it")
    task = line.add("Shipping")
    _adopt(line, goal, task)
    line.until(task, "merging", stages=(*DEV, *REVIEW))
    return task


def test_10_a_goal_withdrawn_before_the_intent_leaves_the_train(line: Line) -> None:
    task = _merging_goal(line)
    _write_roadmap(line, *OTHERS)
    roadmap.read(line.desk, line.project())
    line.merge()
    assert line.task(task).state == "cancelled"
    assert _goal(line, "Ship it").state == "withdrawn"
    assert line.file("notes/shipping.md") is None
    line.assert_sound()


def test_10_a_goal_withdrawn_after_the_intent_lands_and_is_recorded_without_it(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = _merging_goal(line)

    def die(*_arguments: Any) -> bool:
        raise RuntimeError("the daemon died here")

    with monkeypatch.context() as broken:
        broken.setattr(merge, "swap", die)
        with pytest.raises(RuntimeError):
            line.merge()
    _write_roadmap(line, *OTHERS)
    roadmap.read(line.desk, line.project())
    assert line.task(task).state == "merging"
    assert "landing_without_goal" in line.decisions(task)
    line.merge()
    assert line.task(task).state == "done"
    assert line.file("notes/shipping.md") is not None
    assert _goal(line, "Ship it").state == "withdrawn"
    line.assert_sound()


# ------------------------------------------------------------ 11: a plan refused twice


def test_11_a_plan_refused_twice_blocks_the_goal_until_it_is_edited(line: Line) -> None:
    title = "Run in circles [behave: plan-cycle]"
    _write_roadmap(line, f"{title} <!-- id: run -->")
    line.plan()
    line.drive(lambda: _goal(line, title).state == "blocked", stages=PLANNING)
    blocked = _goal(line, title)
    assert (blocked.owner, blocked.reason) == ("operator", "plan_refused")
    asked = line.rows("select role from run where role = 'planner'")
    assert len(asked) == 2
    line.step(PLANNING)
    assert _live(line) == []
    _write_roadmap(line, "Run straight <!-- id: run -->")
    line.commit({})
    line.plan()
    line.drive(lambda: _goal(line, "Run straight").state == "planned", stages=PLANNING)
    assert _goal(line, "Run straight").id == blocked.id
    with line.desk.db() as db:
        (task,) = tasks.of_goal(db, blocked.id)
    line.until(task.id, "done")
    line.merge()
    assert _goal(line, "Run straight").state == "done"
    assert "- [x] Run straight" in (line.file("ROADMAP.md") or "")
    line.assert_sound()


# ------------------------------------------------------------ 12, 13: limits and money


def test_12_a_limit_in_mid_run_pauses_until_it_resets_and_charges_nobody(line: Line) -> None:
    resets_at = int(time.time()) + 4
    task = line.add("Limited", f"[behave: limit {resets_at}]")
    line.dev()
    line.ended()
    line.settle()
    paused = line.task(task)
    assert (paused.state, paused.reason, paused.tries) == ("backlog", "rate_limited", 0)
    assert paused.not_before is not None
    assert paused.not_before.timestamp() == resets_at
    with line.desk.db() as db:
        (pause,) = projects.pauses(db)
    assert (pause["scope"], pause["key"]) == ("all", "account")
    assert line.dev() == 0
    other = line.add("Meanwhile")
    assert line.dev() == 0, "what the account refuses one run it refuses all"
    wait_for(lambda: time.time() > resets_at)
    line.until(task, "done")
    first, second = line.runs(task, "dev")
    assert second.resumes == first.id
    assert second.session == first.session
    assert line.task(task).tries == 0
    line.until(other, "done")
    line.assert_sound()


def test_13_an_envelope_empty_in_mid_run_holds_the_task_until_it_is_raised(line: Line) -> None:
    task = line.add("Costly", "[behave: cost 0.5]")
    with line.desk.db() as db:
        steer.set_task_budget(db, task, 300_000)
    line.until(task, "waiting")
    held = line.task(task)
    assert (held.reason, held.owner, held.tries) == ("envelope_empty", "operator", 0)
    assert held.return_to == "dev"
    line.step()
    assert line.task(task).state == "waiting"
    with line.desk.db() as db:
        steer.set_task_budget(db, task, 8_000_000)
        assert approvals.waiting(db) == []
    line.until(task, "done")
    first, second = line.runs(task, "dev")
    assert second.resumes == first.id
    spent = line.rows("select spent, reserved from envelope where scope = 'task'")
    assert spent[0]["reserved"] == 0
    assert spent[0]["spent"] == sum(run.spent_micros for run in line.runs(task))
    line.assert_sound()


# ------------------------------------------------------------ 17: a dependency is gone


def test_17_a_cancelled_dependency_parks_its_dependants_with_the_operator(line: Line) -> None:
    first = line.add("Ground")
    second = line.add("House", needs=(first,))
    third = line.add("Roof", needs=(second,))
    with line.desk.db() as db:
        steer.cancel_task(db, first)
    found = line.task(second)
    assert (found.state, found.reason, found.owner) == ("parked", "dependency_gone", "operator")
    assert line.task(third).state == "backlog"
    with line.desk.db() as db:
        steer.retry_task(db, second)
    line.until(third, "done")
    line.assert_sound()


# ------------------------------------------------------------ 18: the kill switch


def test_18_the_kill_switch_ends_runs_and_nothing_is_claimed_until_resume(line: Line) -> None:
    task = line.add("Stopped", "[behave: sleep 2]")
    line.dev()
    with line.desk.db() as db:
        steer.kill(line.home, db)
    line.settle()
    killed = line.task(task)
    assert (killed.state, killed.reason, killed.tries) == ("backlog", "killed", 0)
    assert _live(line) == []
    line.add("Another")
    assert line.dev() == 0
    with line.desk.db() as db:
        steer.resume(db, home=line.home)
    line.until(task, "done")
    assert line.task(task).tries == 0
    line.assert_sound()


# ------------------------------------------------------------ 19: edits


def test_19_a_running_task_that_is_edited_starts_again_under_the_new_contract(line: Line) -> None:
    task = line.add("Vague", "[behave: hang]")
    line.dev()
    old = line.task(task)
    with line.desk.db() as db:
        steer.edit_task(db, task, spec="Write it.", accept=["test -f notes/clear.md"],
                        scope=["notes/clear.md"])  # fmt: skip
    edited = line.task(task)
    assert (edited.state, edited.reason, edited.tries) == ("backlog", "edited", 0)
    assert edited.contract_version == 2
    assert edited.fence > old.fence
    line.until(task, "done")
    assert [(r.state, r.contract_version) for r in line.runs(task, "dev")] == [
        ("fenced", 1), ("completed", 2),
    ]  # fmt: skip
    assert line.file("notes/clear.md") is not None
    line.assert_sound()


def test_19_a_verdict_on_the_old_contract_counts_for_nothing(line: Line) -> None:
    task = line.add("Moving", "[behave qa: sleep 1]")
    line.until(task, "review", stages=DEV)
    line.check()
    line.qa()
    with line.desk.db() as db:
        steer.edit_task(db, task, accept=["test -f notes/first.md"])
    line.ended()
    line.settle()
    assert line.task(task).state == "review"
    assert line.rows("select from verdict") == []
    line.until(task, "done")
    judged = line.rows("select contract_version from verdict")
    assert [row["contract_version"] for row in judged] == [2]
    line.assert_sound()


# ------------------------------------------------------------ 21: two projects


@pytest.fixture
def two_projects(home: Path, database: str, make_repo: Callable[..., Path]) -> Iterator[Line]:
    """A line over two projects, four developers at most."""
    repos = {slug: make_repo(FILES, name=slug) for slug in ("big", "small")}
    changes = {"agents.dev": {"count": 4}, "limits.max_live": 4}
    with open_line(home, database, repos, changes) as opened:
        yield opened


def test_21_a_project_with_many_tasks_does_not_starve_one_with_few(two_projects: Line) -> None:
    two = two_projects
    for number in range(60):
        two.add(f"Big {number}", slug="big", priority=10)
    few = [two.add(f"Small {number}", slug="small", priority=500) for number in range(2)]
    claimed = []
    while (taken := claim.next_dev(two.desk)) is not None:
        claimed.append(taken.project.slug)
    assert sorted(claimed) == ["big", "big", "small", "small"]
    assert {two.task(task).state for task in few} == {"claimed"}
