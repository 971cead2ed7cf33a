"""The operator's verbs, on a real database."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clawd import steer
from clawd.errors import Refused, UsageError
from clawd.running import launch
from clawd.store import approvals, edits, goals, ledger, lineage, moves, projects, tasks
from clawd.store.rows import Db
from tests.parts.steer_ground import DAY, World, make_world


@pytest.fixture
def world(db: Db, tmp_path: Path) -> World:
    return make_world(db, tmp_path)


def last(world: World, task: int) -> lineage.Decision:
    return lineage.of_chain(world.db, "task", task)[-1]


HOSTILE = [
    "--help",
    "-rf /",
    "$(touch /tmp/owned); `id`",
    'it\'s "quoted" \\ and %s {0}',
    "ünïcödé 漢字 🎉",
    "[bold red]markup[/]",
]


@pytest.mark.parametrize("title", HOSTILE)
def test_any_title_of_one_line_is_kept_as_it_is(world: World, title: str) -> None:
    done = steer.add_task(world.db, world.project, title, title)
    assert done.id is not None
    found = tasks.by_id(world.db, done.id)
    assert found is not None
    assert found.title == title
    assert tasks.contract(world.db, done.id).spec == title


def test_nul_and_escapes_and_half_characters_never_reach_the_database(world: World) -> None:
    done = steer.add_task(world.db, world.project, "a\x00b\x1b[31mc\udcff", "x\x00y\r\nz")
    assert done.id is not None
    found = tasks.by_id(world.db, done.id)
    assert found is not None
    assert found.title == "ab[31mc"
    assert tasks.contract(world.db, done.id).spec == "xy\nz"


@pytest.mark.parametrize(
    ("title", "says"),
    [("", "empty"), ("  \n ", "empty"), ("a\nb", "one line"), ("x" * 201, "201 characters")],
)
def test_a_title_that_is_none_is_refused_in_a_sentence(world: World, title: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as refused:
        steer.add_task(world.db, world.project, title)
    assert refused.value.remedy


def test_a_megabyte_of_spec_is_refused_and_a_quarter_fits(world: World) -> None:
    with pytest.raises(UsageError, match="1024 KiB"):
        steer.add_task(world.db, world.project, "big", "x" * 1024 * 1024)
    assert steer.add_task(world.db, world.project, "fits", "x" * 256 * 1024).id


def test_a_scope_outside_the_repository_is_refused(world: World) -> None:
    for scope in ("/etc/**", "../other", "a/../../b", ".git/hooks"):
        with pytest.raises(UsageError, match="outside"):
            steer.add_task(world.db, world.project, "t", scope=[scope])


def test_the_same_key_adds_one_task(world: World) -> None:
    first = steer.add_task(world.db, world.project, "once", idem_key="k")
    again = steer.add_task(world.db, world.project, "once", idem_key="k")
    assert first.id == again.id


def test_needs_must_exist_and_may_still_land(world: World) -> None:
    with pytest.raises(moves.Missing):
        steer.add_task(world.db, world.project, "t", needs=[999])
    gone = world.task().id
    steer.cancel_task(world.db, gone)
    with pytest.raises(Refused, match="will not land"):
        steer.add_task(world.db, world.project, "t", needs=[gone])


def test_every_verb_on_a_task_names_operator_and_channel_in_its_lineage(world: World) -> None:
    by = steer.By("mia", "telegram")
    task = steer.add_task(world.db, world.project, "t", by=by).id
    assert task is not None
    seen = [last(world, task)]
    steer.edit_task(world.db, task, spec="more", by=by)
    seen.append(last(world, task))
    steer.cancel_task(world.db, task, by=by)
    seen.append(last(world, task))
    steer.reopen_task(world.db, task, by=by)
    seen.append(last(world, task))
    for row in seen:
        assert row.actor == "operator"
        assert (row.inputs["by"], row.inputs["channel"]) == ("mia", "telegram")
    assert lineage.first_bad_row(world.db) is None


def test_editing_a_running_task_ends_its_run_by_a_stale_fence(world: World) -> None:
    task = world.task().id
    run = world.start(task)
    done = steer.edit_task(world.db, task, spec="something else")
    found = tasks.by_id(world.db, task)
    assert found is not None
    assert (found.state, found.contract_version, found.tries) == ("backlog", 2, 0)
    assert found.reason == "edited"
    assert done.state == "backlog"
    with pytest.raises(moves.Fenced):
        moves.move_task(world.db, task, "finish", why="late", fence=run.fence, run=run.id)


def test_editing_a_task_under_review_fences_qa_and_checks_again(world: World) -> None:
    task = world.task().id
    candidate = world.finish(task)
    qa = world.claim(task, "qa")
    steer.edit_task(world.db, task, accept=["false"])
    found = tasks.by_id(world.db, task)
    assert found is not None
    assert (found.state, found.contract_version, found.candidate) == ("review", 2, candidate)
    assert found.fence > qa.fence
    row = world.db.execute("select check_state from candidate where id = %s", (candidate,))
    assert row.fetchone() == {"check_state": "due"}


def test_editing_a_task_in_the_train_sends_it_back_to_review(world: World) -> None:
    task = world.task().id
    world.review(task, world.finish(task), "pass")
    steer.edit_task(world.db, task, spec="stricter")
    assert world.state(task) == "review"


def test_a_priority_alone_makes_no_new_contract(world: World) -> None:
    task = world.task().id
    world.start(task)
    steer.edit_task(world.db, task, priority=1)
    found = tasks.by_id(world.db, task)
    assert found is not None
    assert (found.state, found.priority, found.contract_version) == ("running", 1, 1)


def test_what_landed_is_not_edited_or_cancelled_but_undone(world: World) -> None:
    task = world.task().id
    candidate = world.finish(task)
    world.review(task, candidate, "pass")
    world.land(task, candidate)
    for refused in (steer.cancel_task, steer.retry_task, steer.reopen_task):
        with pytest.raises(Refused) as error:
            refused(world.db, task)
        assert "clawd undo" in error.value.remedy
    with pytest.raises(Refused, match="too late"):
        steer.edit_task(world.db, task, spec="x")


def test_what_landed_is_asked_back_once_with_what_was_built_on_it(world: World) -> None:
    first = world.task("first").id
    candidate = world.finish(first)
    world.review(first, candidate, "pass")
    world.land(first, candidate)
    assert "is tested and lands" in steer.undo(world.db, first).said
    assert last(world, first).action == "ask_undo"
    with pytest.raises(Refused, match="already"):
        steer.undo(world.db, first)


def test_nothing_landed_is_nothing_to_undo(world: World) -> None:
    with pytest.raises(Refused, match="Nothing of task"):
        steer.undo(world.db, world.task().id)


def test_a_parked_task_is_retried_with_fresh_tries_and_without_what_is_gone(world: World) -> None:
    need = world.task("first").id
    task = world.task("second", needs=[need]).id
    steer.cancel_task(world.db, need)
    assert world.state(task) == "parked"
    steer.retry_task(world.db, task)
    found = tasks.by_id(world.db, task)
    assert found is not None
    assert (found.state, found.deps_open, found.tries) == ("backlog", 0, 0)


def test_retry_cuts_a_waiting_time_short(world: World) -> None:
    task = world.task().id
    world.db.execute("update task set not_before = now() + interval '1 day' where id = %s", (task,))
    assert "at once" in steer.retry_task(world.db, task).said
    found = tasks.by_id(world.db, task)
    assert found is not None
    assert found.not_before is None


def test_an_answer_becomes_the_next_contract_and_the_task_goes_on(world: World) -> None:
    task = world.task().id
    ask = world.ask(task, "Keep the old format?")
    steer.answer(world.db, ask, "Yes, keep it.")
    found, contract = tasks.by_id(world.db, task), tasks.contract(world.db, task)
    assert found is not None
    assert (found.state, found.contract_version, found.front) == ("backlog", 2, True)
    assert [(a.question, a.answer) for a in contract.answers] == [
        ("Keep the old format?", "Yes, keep it.")
    ]
    with pytest.raises(Refused, match="settled"):
        steer.answer(world.db, ask, "No.")


def test_a_task_with_two_questions_waits_for_both_answers(world: World) -> None:
    task = world.task().id
    first = world.ask(task, "One?")
    second = approvals.ask(world.db, kind="question", question="Two?", task=task).id
    assert "1 more open question" in steer.answer(world.db, first, "a").said
    assert world.state(task) == "waiting"
    steer.answer(world.db, second, "b")
    assert world.state(task) == "backlog"
    assert len(tasks.contract(world.db, task).answers) == 2


def test_a_question_is_answered_and_a_request_is_approved_never_the_other_way(
    world: World,
) -> None:
    question = world.ask(world.task().id)
    request = world.ask(world.task().id, "May it?", kind="protected")
    with pytest.raises(Refused, match="a yes does not answer"):
        steer.approve(world.db, question)
    with pytest.raises(Refused, match="yes or a no"):
        steer.answer(world.db, request, "well")


@pytest.mark.parametrize(
    ("return_to", "state"),
    [("dev", "backlog"), ("review", "review"), ("merge", "merging"), ("proof", "verifying")],
)
def test_a_yes_takes_a_task_back_to_where_it_stood(
    world: World, return_to: str, state: str
) -> None:
    task = world.task().id
    request = world.ask(task, "May it?", kind="protected")
    world.db.execute("update task set return_to = %s where id = %s", (return_to, task))
    assert steer.approve(world.db, request).state == state


def test_a_no_parks_the_task_and_says_whose_turn_it_is(world: World) -> None:
    task = world.task().id
    request = world.ask(task, "May it?", kind="protected")
    steer.reject(world.db, request, why="not now")
    found = tasks.by_id(world.db, task)
    assert found is not None
    assert (found.state, found.reason, found.owner) == ("parked", "denied", "operator")
    assert "not now" in last(world, task).why


def test_an_answer_about_a_goal_is_kept_with_it_and_it_is_planned_again(world: World) -> None:
    goal = goals.add(
        world.db, world.project.id, ident="g2", title="Vague", body="", section="", digest="e",
        line=13, priority=1, why="seen",
    )  # fmt: skip
    ask = approvals.ask(world.db, kind="question", question="How fast?", goal=goal.id)
    moves.move_goal(world.db, goal.id, "ask", why="the pm asks")
    steer.answer(world.db, ask.id, "Under a second.")
    found = goals.by_id(world.db, goal.id)
    assert found is not None
    assert found.state == "seen"
    assert found.spec["answers"] == [{"question": "How fast?", "answer": "Under a second."}]


def test_more_money_lets_a_task_go_on_that_waited_for_it(world: World) -> None:
    task = world.task().id
    request = world.ask(task, "It needs 3 dollars more.", kind="envelope")
    steer.set_task_budget(world.db, task, 5_000_000)
    assert world.state(task) == "backlog"
    asked = approvals.by_id(world.db, request)
    assert asked is not None
    assert asked.state == "approved"
    assert ledger.envelope(world.db, "task", str(task), "", 1).limit == 5_000_000


def test_a_request_for_money_is_granted_as_it_names_it(world: World) -> None:
    task = world.task().id
    world.start(task)
    asked = approvals.ask(
        world.db, kind="envelope", question="More?", task=task,
        subject={"scope": "task", "scope_id": str(task), "period": "", "limit_micros": 7_000_000},
    )  # fmt: skip
    moves.move_task(world.db, task, "hold", why="empty", return_to="dev")
    steer.approve(world.db, asked.id)
    assert ledger.envelope(world.db, "task", str(task), "", 1).limit == 7_000_000
    assert world.state(task) == "backlog"


def test_a_raised_day_frees_what_was_put_off(world: World) -> None:
    task = world.task().id
    world.db.execute(
        """update task set not_before = now() + interval '1 day', reason = 'envelope_empty'
           where id = %s""",
        (task,),
    )
    steer.set_day_budget(world.db, DAY, 20_000_000)
    found = tasks.by_id(world.db, task)
    assert found is not None
    assert found.not_before is None
    with pytest.raises(UsageError):
        steer.set_day_budget(world.db, DAY, -1)


def test_pause_and_resume_are_decisions_of_every_project(world: World) -> None:
    steer.pause(world.db, why="a release")
    assert projects.pauses(world.db)[0]["reason"] == "a release"
    steer.resume(world.db)
    assert projects.pauses(world.db) == []
    told = [row.action for row in lineage.of_chain(world.db, "project", world.project.id)]
    assert told == ["pause", "resume"]
    assert steer.resume(world.db).said == "Nothing was paused."


def test_the_kill_switch_needs_no_database(home: Path) -> None:
    done = steer.kill(home, None, why="enough")
    assert json.loads((home / "freeze").read_text())["why"] == "enough"
    assert "database is down" in done.said


def test_kill_yields_every_live_task_and_pauses_all_until_resume(world: World, home: Path) -> None:
    working, reviewed = world.task("w").id, world.task("r").id
    world.start(working)
    world.finish(reviewed)
    world.claim(reviewed, "qa")
    steer.kill(home, world.db)
    assert world.state(working) == "backlog"
    assert world.state(reviewed) == "review"
    assert edits.leased(world.db) == []
    assert projects.pauses(world.db)[0]["scope"] == "all"
    steer.resume(world.db, home=home)
    assert not (home / "freeze").exists()
    assert projects.pauses(world.db) == []


def test_a_goal_is_appended_where_the_roadmap_reads_it(world: World, tmp_path: Path) -> None:
    roadmap = tmp_path / "ROADMAP.md"
    roadmap.write_text("# Plan\n\n- [x] done\n- [ ] open\n\n## Notes\n\nprose")
    steer.add_goal(world.db, world.project, "Faster *start*", "Under a second.\nAlways.")
    text = roadmap.read_text()
    assert text.startswith("# Plan\n\n- [x] done\n- [ ] open\n\n## Notes\n\nprose\n")
    assert "- [ ] Faster *start*\n      Under a second.\n" in text


def test_a_goal_that_would_not_be_read_is_refused_and_the_file_kept(
    world: World, tmp_path: Path
) -> None:
    roadmap = tmp_path / "ROADMAP.md"
    roadmap.write_text("- [ ] open\n\n```\nnever closed\n")
    before = roadmap.read_text()
    with pytest.raises(Refused, match="would not be read"):
        steer.add_goal(world.db, world.project, "New")
    assert roadmap.read_text() == before


def test_a_finished_goal_is_reopened_and_its_box_cleared(world: World, tmp_path: Path) -> None:
    roadmap = tmp_path / "ROADMAP.md"
    roadmap.write_text("- [x] Orders can be exported\n")
    moves.move_goal(world.db, world.goal.id, "finish", why="done")
    steer.reopen_goal(world.db, world.goal.id)
    found = goals.by_id(world.db, world.goal.id)
    assert found is not None
    assert found.state == "seen"
    assert roadmap.read_text() == "- [ ] Orders can be exported\n"


def test_what_is_not_there_is_said_with_a_remedy(world: World) -> None:
    for verb in (steer.cancel_task, steer.retry_task, steer.undo):
        with pytest.raises(moves.Missing, match="no task 404") as error:
            verb(world.db, 404)
        assert error.value.remedy
    with pytest.raises(moves.Missing, match="no question 404"):
        steer.answer(world.db, 404, "x")
    with pytest.raises(moves.Missing, match="no goal 404"):
        steer.reopen_goal(world.db, 404)


def test_kill_waits_until_a_live_keeper_has_ended_its_run(home: Path) -> None:
    folder = home / "runs" / "7"
    launch.start(launch.Launch(
        folder=folder, marker=f"kill-{home.name}", argv=["/bin/sleep", "60"],
        freeze_file=home / "freeze",
    ))  # fmt: skip
    assert isinstance(launch.look(folder), launch.Alive)
    done = steer.kill(home, None)
    assert "1 run ended" in done.said
    found = launch.look(folder)
    assert isinstance(found, launch.Ended)
    assert found.result.why == launch.Why.FROZEN
