"""The scripted agent speaks the real command's protocol and serves any task."""

from __future__ import annotations

import subprocess
import time
import uuid
from pathlib import Path

import pytest

from tests.parts.agent_ground import (
    DEMO,
    SCHEMA,
    Bench,
    git,
    goal_prompt,
    head,
    is_green,
    make_bench,
    pack_agent,
    write_files,
)


@pytest.fixture(scope="module")
def claude(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_agent(tmp_path_factory.mktemp("agent"))


@pytest.fixture
def bench(tmp_path: Path, claude: Path) -> Bench:
    return make_bench(tmp_path, claude)


def test_the_stream_has_the_real_shapes_and_says_that_it_is_scripted(bench: Bench) -> None:
    session = str(uuid.uuid4())
    write_files(bench.hub, {"title": "A note"}, {})
    ran = bench.run(bench.hub, "Role: dev\n", "--session-id", session)
    first = ran.events[0]
    assert (first["type"], first["subtype"]) == ("system", "init")
    assert first["session_id"] == session
    assert first["cwd"] == str(bench.hub.resolve())
    assert first["model"] == "scripted"
    assert {"Bash", "Write"} <= set(first["tools"])
    calls = [
        block
        for event in ran.events
        if event["type"] == "assistant"
        for block in event["message"]["content"]
        if block["type"] == "tool_use"
    ]
    results = [e["message"]["content"][0] for e in ran.events if e["type"] == "user"]
    assert [c["id"] for c in calls] == [r["tool_use_id"] for r in results]
    result = ran.result
    assert result["is_error"] is False
    assert 0.01 < result["total_cost_usd"] < 0.1
    assert result["modelUsage"]["scripted"]["costUSD"] == result["total_cost_usd"]
    assert "scripted" in result["result"]
    assert "structured_output" not in result


def test_sessions_are_continued_and_never_begun_twice(bench: Bench) -> None:
    session = str(uuid.uuid4())
    write_files(bench.hub, {"title": "A note"}, {})
    assert bench.run(bench.hub, "Role: dev\n", "--resume", session).code == 1
    assert bench.run(bench.hub, "Role: dev\n", "--session-id", session).code == 0
    assert "in use" in bench.run(bench.hub, "Role: dev\n", "--session-id", session).stderr
    again = bench.run(bench.hub, "Role: dev\n", "--resume", session)
    assert again.events[0]["session_id"] == session


def test_wrong_arguments_are_one_line_on_stderr_and_nothing_on_stdout(bench: Bench) -> None:
    for flags in (["--no-such-flag"], ["--session-id", "x"], ["--json-schema", "{"]):
        ran = bench.run(bench.hub, "Role: dev\n", *flags)
        assert (ran.code, ran.lines) == (1, [])
        assert ran.stderr.count("\n") == 1
    assert "stdin" in bench.run(bench.hub, "").stderr


def test_turns_and_money_are_limited_as_the_real_command_limits_them(bench: Bench) -> None:
    write_files(bench.hub, {"title": "A note"}, {})
    turns = bench.run(bench.hub, "Role: dev\n", "--max-turns", "2")
    assert (turns.code, turns.result["subtype"]) == (1, "error_max_turns")
    money = bench.run(bench.hub, "Role: dev\n", "--max-budget-usd", "0.01")
    assert (money.code, money.result["terminal_reason"]) == (1, "max_budget_usd")
    assert money.result["total_cost_usd"] >= 0.01


def test_the_version_says_that_it_is_scripted(claude: Path) -> None:
    for program in (claude, DEMO / "agent"):
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
        assert said.stdout.strip() == "0.0.0 (scripted agent)"


def test_an_unknown_goal_becomes_one_task_and_an_unknown_task_one_note(bench: Bench) -> None:
    answer = bench.run(bench.hub, goal_prompt("Write about X", "in short"), *SCHEMA).answer
    (task,) = answer["tasks"]
    work = bench.clone()
    bench.dev(work, task)
    assert is_green(work, task["acceptance"][0]["run"])
    assert bench.qa(work, task, head(bench.hub))["answer"] == "pass"
    assert git(work, "diff", "--name-only", "main", "task") == task["scope"][0]


def test_a_general_task_writes_the_test_its_acceptance_names(bench: Bench) -> None:
    run = "python3 -m unittest tests.test_birds"
    title = 'Birds "and" $(trees)\n--amend'
    work = bench.clone()
    bench.dev(work, {"title": title, "acceptance": [{"run": run}], "scope": ["docs/*.txt"]})
    assert is_green(work, run)
    assert list((work / "docs").glob("*.txt"))
    assert git(work, "log", "-1", "--format=%s") == 'Birds "and" $(trees) --amend'


def test_the_pace_is_a_person_s_unless_a_file_beside_the_agent_says_otherwise(
    bench: Bench,
) -> None:
    write_files(bench.hub, {"title": "A note"}, {})
    bench.claude = bench.root / "copy"
    subprocess.run([DEMO / "agent", "--pack", bench.claude, "0.5"], check=True)
    started = time.monotonic()
    bench.run(bench.hub, "Role: dev\n")
    slow_s = time.monotonic() - started
    (bench.root / "pace").write_text("0\n")
    started = time.monotonic()
    bench.run(bench.hub, "Role: dev\n")
    assert time.monotonic() - started < slow_s / 2
