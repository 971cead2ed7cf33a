"""The stories of the state machine on real parts: work, reviews, the train.

Stories 1 to 8, 16 and 22 are here, 9 to 13, 17 to 19 and 21 in test_stories_operator.py. Left to a
later issue: 14 (held for a protected path: the gate), 15 (a job's late proof: evidence by schedule)
and 20 (a second host).
"""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from clawd import loops, steer
from clawd.adapters import process
from clawd.adapters.git import merge
from clawd.errors import Refused
from clawd.pipeline import claim, develop, recover
from clawd.running import launch
from clawd.store import approvals, moves, runs
from tests.whole.line import DEV, REVIEW, Line, wait_for


class Crash(Exception):
    """Where the daemon is thought to have died."""


def _die(*_arguments: Any, **_more: Any) -> None:
    raise Crash


# ------------------------------------------------------------ 1, 2: the daemon goes away


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (develop.runs, "add_candidate"),
        (develop, "_move"),
        (develop.spawn, "close"),
        (develop.workspace, "clear"),
    ],
    ids=["before-the-row", "before-the-move", "before-the-run-ends", "after-the-move"],
)
def test_1_a_crash_between_fetch_and_move_repeats_no_finished_work(
    line: Line, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    task = line.add("Crash")
    line.dev()
    line.ended()
    with monkeypatch.context() as broken:
        broken.setattr(owner, name, _die)
        with pytest.raises(Crash):
            line.settle()
    line.until(task, "done")
    assert len(line.runs(task, "dev")) == 1
    assert len(line.rows("select from candidate")) == 1
    assert line.task(task).tries == 0
    assert line.file("notes/crash.md") is not None
    line.assert_sound()


def test_2_a_daemon_away_for_three_minutes_finds_its_agent_and_keeps_the_fence(line: Line) -> None:
    task = line.add("Patience", "[behave: sleep 1.5]")
    line.dev()
    before = line.task(task)
    line.advance(minutes=3)
    assert line.dev() == 0, "a live agent's task is nobody else's"
    loops.Beat(line.desk).tick()
    adopted = line.task(task)
    assert adopted.fence == before.fence
    assert adopted.leased_by_run == before.leased_by_run
    assert adopted.lease_until is not None
    assert adopted.lease_until > line.desk.now()
    line.until(task, "done")
    assert len(line.runs(task, "dev")) == 1
    line.assert_sound()


# ------------------------------------------------------------ 3: a question


def test_3_a_question_answered_after_two_days_goes_on_with_home_and_todays_main(
    line: Line,
) -> None:
    task = line.add("Which", "[behave: ask]")
    line.until(task, "waiting")
    assert line.task(task).owner == "operator"
    home = line.desk.task_home(task) / "dev"
    (home / "memory").write_text("kept")
    line.commit({"notes/second.md": "two\n"})
    line.merge()
    line.advance(days=2)
    line.step()
    assert line.task(task).state == "waiting"
    line.answer("two")
    assert line.task(task).contract_version == 2
    line.until(task, "review", stages=DEV)
    first, second = line.runs(task, "dev")
    assert "Which way is meant?\n  Answer: two" in line.snapshot(second)
    assert (home / "memory").read_text() == "kept"
    assert second.session == first.session
    assert second.base_oid == line.main()
    line.until(task, "done")
    assert line.task(task).tries == 0
    line.assert_sound()


# ------------------------------------------------------------ 4, 5: reviews


def _kill_agent(line: Line, role: str, task: int) -> None:
    run = line.runs(task, role)[-1]
    known = wait_for(lambda: launch._read_json(line.desk.run_folder(run.id) / "keeper.json"))
    child = wait_for(
        lambda: (launch._read_json(line.desk.run_folder(run.id) / "keeper.json") or {}).get("child")
    )
    assert known
    os.kill(int(child), signal.SIGKILL)


def test_4_a_reviewer_that_crashes_costs_the_developer_nothing(line: Line) -> None:
    task = line.add("Fragile", "[behave qa: sleep 1]")
    line.until(task, "review", stages=DEV)
    line.check()
    line.qa()
    held = line.task(task)
    _kill_agent(line, "qa", task)
    line.drive(lambda: line.task(task).leased_by_run is None, stages=("settle",))
    after = line.task(task)
    assert (after.state, after.tries, after.round) == ("review", 0, 0)
    assert after.fence > held.fence
    line.until(task, "done")
    assert [r.state for r in line.runs(task, "qa")] == ["failed", "completed"]
    assert len(line.runs(task, "dev")) == 1
    line.assert_sound()


def test_4_a_reviewers_host_dies_and_its_late_verdict_finds_nobody(line: Line) -> None:
    task = line.add("Elsewhere")
    line.until(task, "review", stages=DEV)
    line.check()
    with line.desk.db() as db:
        reviewer = db.execute("select id from agent where role = 'qa' order by id").fetchone()
        assert reviewer is not None
        far = moves.claim(db, moves.Claim(
            (task,), "qa", reviewer["id"], "far-away", recover.OTHER_HOST_GRACE / 10,
            {"limits": {"day": claim.day_of(line.desk.now())}}, "a far host",
        ))  # fmt: skip
    assert far is not None
    line.advance(minutes=5)
    recover.scan(line.desk)
    assert line.task(task).leased_by_run == far.id, "the grace is not over"
    line.advance(minutes=7)
    recover.scan(line.desk)
    after = line.task(task)
    assert (after.state, after.leased_by_run, after.tries) == ("review", None, 0)
    with line.desk.db() as db, pytest.raises(moves.Fenced):
        moves.move_task(db, task, "pass", why="late", fence=far.fence, run=far.id)
    line.until(task, "done")
    line.assert_sound()


def test_5_red_acceptance_goes_back_before_a_reviewer_spends_a_token(line: Line) -> None:
    task = line.add("Red", accept=("echo the-very-words >&2; false",))
    line.dev()
    line.ended()
    line.step(("settle", "check"))
    found = line.task(task)
    assert (found.state, found.reason, found.tries) == ("backlog", "check_red", 1)
    assert line.runs(task, "qa") == []
    line.dev()
    assert "the-very-words" in line.snapshot(line.runs(task, "dev")[-1])
    line.until(task, "parked")
    assert line.task(task).reason == "tries"
    assert line.runs(task, "qa") == []
    line.assert_sound()


# ------------------------------------------------------------ 6, 22: bounces

CLASH = "if test -f notes/{a}.md && test -f {b}; then echo they-clash; exit 1; fi\n"


def test_6_a_verdict_holds_when_the_same_patch_comes_back_on_a_new_base(line: Line) -> None:
    line.commit({"tests.sh": CLASH.format(a="steady", b="block")})
    line.merge()
    task = line.add("Steady")
    line.until(task, "merging", stages=(*DEV, *REVIEW))
    line.commit({"block": "x\n"})
    line.merge()
    bounced = line.task(task)
    assert (bounced.state, bounced.bounces, bounced.tries, bounced.front) == ("backlog", 1, 0, True)
    line.commit({"block": None})
    line.merge()
    line.until(task, "done")
    assert len(line.runs(task, "dev")) == 2
    assert len(line.runs(task, "qa")) == 1, "the same contract and patch need no second review"
    assert line.task(task).round == 0
    line.assert_sound()


def test_6_another_patch_after_a_bounce_is_reviewed_again(line: Line) -> None:
    task = line.add("Change", "[behave: write notes/first.md ours]")
    line.until(task, "merging", stages=(*DEV, *REVIEW))
    line.commit({"notes/first.md": "theirs\n"})
    line.merge()
    assert line.task(task).reason == "conflict"
    line.dev()
    assert "notes/first.md" in line.snapshot(line.runs(task, "dev")[-1])
    line.until(task, "done")
    assert len(line.runs(task, "qa")) == 2
    line.assert_sound()


def test_22_a_task_that_bounces_for_ever_is_given_up_at_five(line: Line) -> None:
    line.commit({"tests.sh": CLASH.format(a="never", b="block"), "block": "x\n"})
    line.merge()
    task = line.add("Never")
    line.until(task, "merging", stages=(*DEV, *REVIEW))
    line.merge()
    assert line.task(task).bounces == 1
    with line.desk.db() as db:
        db.execute("update task set bounces = 4")  # three rounds more would show nothing new
    found = line.until(task, "parked")
    assert (found.reason, found.bounces, found.tries) == ("bounces", 5, 0)
    assert found.owner == "operator"
    assert line.events(task).count("bounce") == 2
    told = line.rows("select body from outbox where level = 'needs_you'")
    assert any(f"Task {task} is parked" in row["body"]["text"] for row in told)
    line.assert_sound()


def test_two_tasks_each_green_and_jointly_red_one_lands_the_other_hears_why(line: Line) -> None:
    line.commit({"tests.sh": CLASH.format(a="left", b="notes/right.md")})
    line.merge()
    left, right = line.add("Left"), line.add("Right")
    for task in (left, right):
        line.until(task, "merging", stages=(*DEV, *REVIEW))
    line.merge()
    assert line.task(left).state == "done"
    back = line.task(right)
    assert (back.state, back.reason, back.bounces) == ("backlog", "tests_red", 1)
    line.dev()
    assert "they-clash" in line.snapshot(line.runs(right, "dev")[-1])
    line.assert_sound()


# ------------------------------------------------------------ 7, 8: cancelling


def _cancel(line: Line, task: int) -> None:
    with line.desk.db() as db:
        steer.cancel_task(db, task)


def test_7_a_task_cancelled_under_review_ends_its_reviewer(line: Line) -> None:
    task = line.add("Unwanted", "[behave qa: hang]")
    line.until(task, "review", stages=DEV)
    line.check()
    line.qa()
    _cancel(line, task)
    line.drive(lambda: not _live(line), stages=("settle",))
    assert line.task(task).state == "cancelled"
    assert [r.state for r in line.runs(task, "qa")] == ["fenced"]
    line.assert_sound()


def test_7_a_task_cancelled_while_it_waits_voids_its_question(line: Line) -> None:
    task = line.add("Unasked", "[behave: ask]")
    line.until(task, "waiting")
    _cancel(line, task)
    with line.desk.db() as db:
        assert approvals.waiting(db) == []
        assert [a.state for a in approvals.of_task(db, task)] == ["void"]
    line.assert_sound()


def test_7_a_task_cancelled_in_the_train_never_lands(line: Line) -> None:
    task = line.add("Late")
    line.until(task, "merging", stages=(*DEV, *REVIEW))
    before = line.main()
    _cancel(line, task)
    line.merge()
    assert line.main() == before
    assert line.rows("select from landing") == []
    line.assert_sound()


def test_8_a_cancel_while_its_tree_is_tested_wins(line: Line, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    line.commit({"tests.sh": f"test ! -f notes/early.md || while ! test -f {gate}; do :; done\n"})
    line.merge()
    task = line.add("Early")
    line.until(task, "merging", stages=(*DEV, *REVIEW))
    before = line.main()
    train = threading.Thread(target=line.merge)
    train.start()
    try:
        wait_for(lambda: process.find_marked(f"{line.desk.mark}-tests-"))
        _cancel(line, task)
    finally:
        gate.touch()
        train.join(60)
    assert line.task(task).state == "cancelled"
    assert line.main() == before
    line.assert_sound()


def test_8_a_cancel_after_the_intent_is_told_to_undo(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = line.add("Late")
    line.until(task, "merging", stages=(*DEV, *REVIEW))
    swap, refusals = merge.swap, []

    def cancel_first(*arguments: Any) -> Any:
        with pytest.raises(Refused) as refused:
            _cancel(line, task)
        refusals.append(refused.value.remedy)
        return swap(*arguments)

    monkeypatch.setattr(merge, "swap", cancel_first)
    line.merge()
    assert line.task(task).state == "done"
    assert refusals == [f"Undo it afterwards: clawd undo {task}"]
    line.assert_sound()


def _live(line: Line) -> list[Any]:
    with line.desk.db() as db:
        return list(runs.live(db))


# ------------------------------------------------------------ 16: nothing to do, and a liar


def test_16_no_change_needed_is_proven_and_done_without_a_landing(line: Line) -> None:
    task = line.add("Already", "[behave: no-change]", accept=("test -f notes/first.md",))
    before = line.main()
    line.until(task, "done")
    assert line.main() == before
    assert line.events(task) == ["claim", "start", "finish", "claim", "no_change", "prove"]
    assert line.rows("select from landing") == []
    line.assert_sound()


def test_16_no_change_is_not_believed_while_the_acceptance_is_red(line: Line) -> None:
    task = line.add("Not yet", "[behave: no-change]", accept=("test -f notes/nowhere.md",))
    line.until(task, "parked")
    assert line.task(task).reason == "tries"
    line.assert_sound()


def test_a_liar_is_charged_three_times_and_parked_with_nothing_landed(line: Line) -> None:
    task = line.add("Lies", "[behave: lie]", accept=("test -f notes/lies.md",))
    before = line.main()
    found = line.until(task, "parked")
    assert (found.reason, found.tries) == ("tries", 2)
    assert [r.reason for r in line.runs(task)] == ["no_candidate"] * 3
    assert line.main() == before
    assert line.rows("select from evidence where state = 'proven'") == []
    line.assert_sound()
