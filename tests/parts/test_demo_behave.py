"""The scripted agent behaves as oddly as a task's spec asks it to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.parts.agent_ground import (
    FLAGS,
    SCHEMA,
    Bench,
    Ran,
    environment,
    git,
    goal_prompt,
    head,
    is_green,
    make_bench,
    outbox,
    pack_agent,
    write_files,
)


@pytest.fixture(scope="module")
def claude(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_agent(tmp_path_factory.mktemp("agent"))


@pytest.fixture
def bench(tmp_path: Path, claude: Path) -> Bench:
    return make_bench(tmp_path, claude)


def behaving(bench: Bench, words: str, **snapshot: Any) -> tuple[Path, Ran]:
    work = bench.clone()
    task = {"title": "A note", "spec": f"Write it. {words}", "scope": ["notes/a.md"]}
    return work, bench.dev(work, task, **snapshot)


def test_a_liar_claims_what_it_did_not_do_until_it_was_caught(bench: Bench) -> None:
    work, ran = behaving(bench, "[behave: lie first 1]")
    assert (ran.code, ran.result["is_error"]) == (0, False)
    assert outbox(work)["claims"]
    assert head(work) == head(bench.hub)
    caught = [{"run": 1, "reason": "no_candidate", "detail": ""}]
    work, _ = behaving(bench, "[behave: lie first 1]", failures=caught)
    assert head(work) != head(bench.hub)


def test_a_crash_is_a_kill_in_the_middle_of_a_line(bench: Bench) -> None:
    _, ran = behaving(bench, "[behave: crash]")
    assert ran.code == -signal.SIGKILL
    assert all(event["type"] != "result" for event in ran.events)


def test_a_torn_stream_ends_well_and_without_a_result(bench: Bench) -> None:
    _, ran = behaving(bench, "[behave: torn]")
    assert ran.code == 0
    assert all(event["type"] != "result" for event in ran.events)


def test_no_change_ask_and_dirty_leave_no_commit(bench: Bench) -> None:
    work, _ = behaving(bench, "[behave: no-change]")
    assert outbox(work)["no_change_needed"]["proof"]
    asked, _ = behaving(bench, "[behave: ask]")
    assert outbox(asked)["questions"]
    dirty, _ = behaving(bench, "[behave: dirty]")
    assert "notes/" in git(dirty, "status", "--porcelain")
    assert {head(work), head(asked), head(dirty)} == {head(bench.hub)}


@pytest.mark.parametrize(
    ("words", "error", "status"),
    [
        ("limit 4000000000", "rate_limit", 429),
        ("overloaded", "server_error", 529),
        ("not-logged-in", "authentication_failed", None),
    ],
)
def test_errors_of_the_api_come_as_success_with_is_error(
    bench: Bench, words: str, error: str, status: int | None
) -> None:
    _, ran = behaving(bench, f"[behave: {words}]")
    assert ran.code == 1
    assert (ran.result["subtype"], ran.result["is_error"]) == ("success", True)
    assert ran.result.get("api_error_status") == status
    assert ran.events[-2]["error"] == error
    limits = [e["rate_limit_info"] for e in ran.events if e["type"] == "rate_limit_event"]
    assert [(i["status"], i["resetsAt"]) for i in limits] == (
        [("rejected", 4000000000)] if status == 429 else []
    )


def test_a_limit_of_the_past_is_over(bench: Bench) -> None:
    assert behaving(bench, "[behave: limit 1000]")[1].code == 0


def test_a_huge_stream_holds_odd_lines_and_a_good_end(bench: Bench) -> None:
    work, ran = behaving(bench, "[behave: huge]")
    assert max(map(len, ran.lines)) > 3_000_000
    assert any(b"\xff" in line for line in ran.lines)
    assert any(b"\x00" in line for line in ran.lines)
    assert any(event["type"] == "weather" for event in ran.events)
    assert ran.result["is_error"] is False
    assert head(work) != head(bench.hub)


def test_red_touch_write_and_cost_come_beside_the_work(bench: Bench) -> None:
    work, _ = behaving(bench, "[behave: red]")
    assert not is_green(work)
    words = "[behave: touch a/b.txt] [behave: write setup.cfg [x y] [behave: cost 1.5]"
    work, ran = behaving(bench, words)
    assert (work / "a/b.txt").read_text() == ""
    assert (work / "setup.cfg").read_text() == "[x y\n"
    assert ran.result["total_cost_usd"] == 1.5


@pytest.fixture
def orphans(bench: Bench) -> Iterator[list[int]]:
    work, ran = behaving(bench, "[behave: orphan]")
    pids = [int(line) for line in (work / ".clawd/orphans.txt").read_text().split()]
    assert ran.code == 0
    yield pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def test_orphans_outlive_the_run(orphans: list[int]) -> None:
    assert len(orphans) == 3
    for pid in orphans:
        os.kill(pid, 0)


@pytest.mark.parametrize(
    ("words", "says"), [("hang", 1), ("hang deaf", 1), ("mute", 0), ("chatter", 3)]
)
def test_endless_runs_end_only_when_they_are_ended(bench: Bench, words: str, says: int) -> None:
    work = bench.clone()
    write_files(work, {"role": "dev", "title": "x", "spec": f"[behave: {words}]"}, {})
    (work / ".clawd/prompt").write_text("Role: dev\n")
    with (work / ".clawd/stream").open("wb") as stream, (work / ".clawd/prompt").open() as prompt:
        running = subprocess.Popen(
            [bench.claude, *FLAGS],
            cwd=work,
            env=environment(bench.root),
            stdin=prompt,
            stdout=stream,
        )
    try:
        deadline = time.monotonic() + 10
        while (work / ".clawd/stream").read_bytes().count(b"\n") < says:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.3)
        assert running.poll() is None
        running.terminate()
        if words == "hang deaf":
            with pytest.raises(subprocess.TimeoutExpired):
                running.wait(0.3)
        else:
            assert running.wait(5) in (143, -signal.SIGTERM)
    finally:
        running.kill()
        running.wait()


def test_a_reviewer_can_answer_badly_not_at_all_or_ask_for_more(bench: Bench) -> None:
    base = head(bench.hub)
    work = bench.clone()
    assert "verdict" in bench.qa(work, {"title": "x", "spec": "[behave: bad-verdict]"}, base)
    task = {"title": "x", "spec": "[behave: revise 2]", "scope": ["README.md"]}
    answers = [bench.qa(work, task, base, round=number)["answer"] for number in (0, 1, 2)]
    assert answers == ["revise", "revise", "pass"]
    write_files(work, {"role": "qa", "title": "x", "spec": "[behave: no-verdict]"}, {})
    silent = bench.run(work, "Role: qa\n", *SCHEMA)
    assert (silent.code, "structured_output" in silent.result) == (0, False)
    write_files(work, {"role": "qa", "title": "x", "spec": "[behave qa: crash]"}, {})
    assert bench.run(work, "Role: qa\n", *SCHEMA).code == -signal.SIGKILL


def test_an_unforeseen_finding_is_answered_in_the_file_it_names(bench: Bench) -> None:
    findings = [
        {"id": "F1", "path": "README.md", "line": 1, "severity": "major", "text": "say more"},
        {"id": "F2", "path": "no/such.md", "line": 1, "severity": "minor", "text": "rename"},
    ]
    work, _ = behaving(bench, "", round=1, findings=findings)
    assert "F1: say more" in (work / "README.md").read_text()
    assert [a["status"] for a in outbox(work)["findings_answered"]] == ["fixed", "declined"]


@pytest.mark.parametrize(
    ("words", "spoilt"),
    [
        ("plan-cycle", lambda plan: plan["tasks"][0]["needs"] == ["t2"]),
        ("plan-empty", lambda plan: plan["tasks"] == []),
        ("plan-no-acceptance", lambda plan: plan["tasks"][0]["acceptance"] == []),
        ("plan-outside", lambda plan: plan["tasks"][0]["scope"][0].startswith("../")),
        ("plan-too-big", lambda plan: plan["tasks"][0]["size_minutes"] > 30),
        ("plan-question", lambda plan: plan["questions"]),
        ("bad-plan", lambda plan: "tasks" not in plan),
    ],
)
def test_a_planner_can_plan_badly_until_it_is_refused(
    bench: Bench, words: str, spoilt: Any
) -> None:
    prompt = goal_prompt("A thing", f"[behave: {words} first 1]")
    assert spoilt(bench.run(bench.hub, prompt, *SCHEMA).answer)
    refused = prompt + "\nYour last plan was refused:\n\n- it is bad\n"
    assert len(bench.run(bench.hub, refused, *SCHEMA).answer["tasks"]) == 1


def test_a_pm_can_ask_the_operator(bench: Bench) -> None:
    item = {"ident": "x", "title": "Make it better [behave: pm-ask]"}
    prompt = f"Role: pm\n\n```json\n{json.dumps([item])}\n```\n"
    answer = bench.run(bench.hub, prompt, *SCHEMA).answer
    assert answer["goals"] == []
    assert answer["questions"][0]["ident"] == "x"
