"""The scripted agent: its stream, its story over real commits, its odd behaviours on request."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clawd import share

DEMO = share.path("scripts/demo")
FLAGS = [
    *["-p", "--output-format", "stream-json", "--verbose", "--setting-sources", ""],
    *["--strict-mcp-config", "--permission-mode", "dontAsk", "--model", "sonnet"],
    *["--tools", "Bash,Read,Edit,Write,Glob,Grep", "--allowedTools", "Bash", "Read", "Edit"],
]
SCHEMA = ["--json-schema", '{"type": "object"}']
ALL_GREEN = "python3 -m unittest -q"

Json = dict[str, Any]


@dataclass
class Ran:
    """How one run of the agent ended."""

    code: int
    lines: list[bytes]
    stderr: str

    @property
    def events(self) -> list[Json]:
        found = []
        for line in self.lines:
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict):
                found.append(value)
        return found

    @property
    def result(self) -> Json:
        last = self.events[-1]
        assert last["type"] == "result"
        return last

    @property
    def answer(self) -> Json:
        return self.result["structured_output"]


@pytest.fixture(scope="session")
def claude(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent as one file, without pauses."""
    target = tmp_path_factory.mktemp("agent") / "claude"
    subprocess.run([sys.executable, DEMO / "agent", "--pack", target, "0"], check=True)
    return target


@dataclass
class Bench:
    """A daemon by hand: a repository, clones for runs, merges and tests."""

    root: Path
    claude: Path

    @property
    def hub(self) -> Path:
        return self.root / "hub"

    def start(self) -> None:
        shutil.copytree(DEMO / "project", self.hub)
        git(self.hub, "init", "-q", "-b", "main")
        self.commit_all(self.hub)

    def commit_all(self, work: Path) -> None:
        git(work, "add", "-A", "--", ".", ":(exclude).clawd")
        git(work, "commit", "-q", "-m", "start")

    def clone(self, commit: str = "main") -> Path:
        work = self.root / f"work-{uuid.uuid4().hex[:8]}"
        git(self.root, "clone", "-q", str(self.hub), str(work))
        git(work, "checkout", "-q", "-b", "task", commit)
        (work / ".git/info/exclude").write_text(".clawd/\n")
        return work

    def run(self, work: Path, prompt: str, *flags: str, timeout_s: float = 30) -> Ran:
        done = subprocess.run(
            [self.claude, *FLAGS, *flags],
            cwd=work,
            env=environment(self.root),
            input=prompt.encode(),
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
        lines = done.stdout.split(b"\n")
        assert lines[-1] == b"" or done.returncode != 0 or b"succ" in lines[-1]
        return Ran(done.returncode, lines[:-1], done.stderr.decode())

    def dev(self, work: Path, task: Json, **snapshot: Any) -> Ran:
        write_files(work, {"role": "dev", **task}, snapshot)
        return self.run(work, "Role: dev\n\nDo the task in .clawd/current-task.json.\n")

    def qa(self, work: Path, task: Json, base: str, **snapshot: Any) -> Json:
        facts = {"base": base, "check": [{"id": "A1", "rc": 0}]}
        write_files(work, {"role": "qa", **task}, {"facts": facts, **snapshot})
        return self.run(work, "Role: qa\n\nReview it.\n", *SCHEMA).answer

    def publish(self, work: Path, name: str) -> str:
        """The clone's commit as a branch of the hub."""
        git(self.hub, "fetch", "-q", str(work), f"HEAD:refs/heads/{name}")
        return head(work)

    def land(self, commit: str) -> bool:
        """Merges onto main when it merges cleanly and the whole tests are green."""
        before = head(self.hub)
        merged = try_git(self.hub, "merge", "-q", "--no-ff", "-m", "land", commit)
        if merged == 0 and is_green(self.hub):
            return True
        try_git(self.hub, "merge", "--abort")
        git(self.hub, "reset", "-q", "--hard", before)
        return False

    def sent_back(self, commit: str) -> Path:
        """A clone of main with the candidate merged into it, the merge left open."""
        work = self.clone()
        try_git(work, "merge", "-q", "--no-commit", "--no-ff", commit)
        return work


def environment(root: Path) -> dict[str, str]:
    home = root / "home"
    home.mkdir(exist_ok=True)
    who = {
        f"GIT_{role}_{key}": value
        for role in ("AUTHOR", "COMMITTER")
        for key, value in (("NAME", "t"), ("EMAIL", "t@example.invalid"))
    }
    quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    return {"PATH": os.environ["PATH"], "HOME": str(home), **who, **quiet}


def try_git(work: Path, *words: str) -> int:
    return subprocess.run(
        ["git", *words], cwd=work, env=environment(work.parent), capture_output=True, check=False
    ).returncode


def git(work: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", *words],
        cwd=work,
        env=environment(work.parent),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def head(work: Path) -> str:
    return git(work, "rev-parse", "HEAD")


def is_green(work: Path, command: str = ALL_GREEN) -> bool:
    env = {**environment(work.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=work, env=env, capture_output=True, check=False
    )
    return done.returncode == 0


def write_files(work: Path, task: Json, snapshot: Json) -> None:
    folder = work / ".clawd"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "current-task.json").write_text(json.dumps(task))
    (folder / "context-snapshot.json").write_text(json.dumps(snapshot))


def outbox(work: Path) -> Json:
    return json.loads((work / ".clawd/outbox.json").read_text())


@pytest.fixture
def bench(tmp_path: Path, claude: Path) -> Bench:
    made = Bench(tmp_path, claude)
    made.start()
    return made


def goal_prompt(title: str, body: str = "") -> str:
    return f"Role: planner\n\n# Goal 3: {title}\n\n{body}\n\nCut this goal into tasks.\n"


GOALS = (
    "Find items by their tags",
    "Search the words of titles and notes",
    "Keep long titles readable",
    "See what is unread and what was read",
    "Share the list with a friend",
)


@pytest.fixture(scope="module")
def plan(claude: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Json]:
    """Every task of the sample by its title, as the planner proposes it."""
    found = {}
    bench = Bench(tmp_path_factory.mktemp("plan"), claude)
    for title in GOALS:
        for task in bench.run(bench.root, goal_prompt(title), *SCHEMA).answer["tasks"]:
            found[task["title"]] = task
    return found


def task_named(plan: dict[str, Json], words: str) -> Json:
    return next(task for title, task in plan.items() if words in title)


def test_the_sample_is_green_and_its_roadmap_has_five_open_goals() -> None:
    text = (DEMO / "project/ROADMAP.md").read_text()
    open_items = [line[6:] for line in text.splitlines() if line.startswith("- [ ] ")]
    for title in GOALS:
        assert any(item.startswith(title) for item in open_items)


def test_the_pm_writes_a_goal_for_each_changed_item(bench: Bench) -> None:
    items = [
        {"ident": "search", "title": GOALS[1], "detail": "title hits first"},
        {"ident": "odd", "title": "Something ```else```", "detail": "[behave: lie]"},
    ]
    prompt = f"Role: pm\n\nNew items:\n\n````json\n{json.dumps(items, indent=1)}\n````\n"
    answer = bench.run(bench.hub, prompt, *SCHEMA).answer
    assert [goal["ident"] for goal in answer["goals"]] == ["search", "odd"]
    assert answer["questions"] == []
    assert all(goal["spec"] and goal["done_when"] for goal in answer["goals"])
    assert "[behave: lie]" in answer["goals"][1]["spec"]


def test_the_plan_has_eight_tasks_and_six_can_start_at_once(plan: dict[str, Json]) -> None:
    assert len(plan) == 8
    assert sum(1 for task in plan.values() if not task["needs"]) == 6
    for task in plan.values():
        assert task["acceptance"]
        assert 10 <= task["size_minutes"] <= 30
    first = [path for task in plan.values() if not task["needs"] for path in task["scope"]]
    assert len(first) == len(set(first))  # nobody has to wait for another one's files


def test_a_review_asks_for_more_and_the_next_round_passes(
    bench: Bench, plan: dict[str, Json]
) -> None:
    task = task_named(plan, "per week")
    base = head(bench.hub)
    work = bench.clone()
    assert bench.dev(work, task).code == 0
    assert is_green(work, task["acceptance"][0]["run"])
    first = bench.qa(work, task, base)
    assert first["answer"] == "revise"
    assert {"minor", "blocker", "major"} == {f["severity"] for f in first["findings"]}

    again = bench.clone(bench.publish(work, "first"))
    assert bench.dev(again, {**task, "round": 1}, round=1, findings=first["findings"]).code == 0
    answered = outbox(again)["findings_answered"]
    assert [a["status"] for a in answered] == ["fixed"] * len(first["findings"])
    second = bench.qa(again, task, base, round=1, findings=first["findings"])
    assert second["answer"] == "pass", second
    assert is_green(again)


def test_every_other_first_candidate_passes_its_review(bench: Bench, plan: dict[str, Json]) -> None:
    for words in ("pocket tags", "command pocket find", "Shorten", "List unread"):
        task = task_named(plan, words)
        work = bench.clone()
        bench.dev(work, task)
        assert is_green(work)
        verdict = bench.qa(work, task, head(bench.hub))
        assert verdict["answer"] == "pass", verdict


PAIRS = [("command pocket tags", "command pocket find"), ("Shorten", "List unread")]
ORDERS = [*PAIRS, *[(second, first) for first, second in PAIRS]]


@pytest.mark.parametrize(("first", "second"), ORDERS)
def test_of_two_green_candidates_the_second_cannot_land_until_it_is_repaired(
    bench: Bench, plan: dict[str, Json], first: str, second: str
) -> None:
    commits = []
    for words in (first, second):
        work = bench.clone()
        bench.dev(work, task_named(plan, words))
        assert is_green(work)
        commits.append(bench.publish(work, words.split()[-1]))
    assert bench.land(commits[0])
    assert not bench.land(commits[1])

    repaired = bench.sent_back(commits[1])
    ran = bench.dev(repaired, task_named(plan, second), conflict={"output": "see the tree"})
    assert ran.code == 0
    assert git(repaired, "status", "--porcelain") == ""
    assert is_green(repaired)
    assert bench.land(bench.publish(repaired, "repaired"))
    assert git(bench.hub, "merge-base", commits[1], "main") == commits[1]


@pytest.mark.parametrize(("first", "second"), ORDERS)
def test_who_starts_after_the_other_landed_needs_no_repair(
    bench: Bench, plan: dict[str, Json], first: str, second: str
) -> None:
    for words in (first, second):
        work = bench.clone()
        bench.dev(work, task_named(plan, words))
        assert bench.land(bench.publish(work, words.split()[-1]))


@pytest.mark.parametrize(("answer", "sign"), [("HTML, please", "<h1>"), ("markdown", "# Reading")])
def test_the_export_asks_first_and_then_does_what_was_answered(
    bench: Bench, plan: dict[str, Json], answer: str, sign: str
) -> None:
    task = task_named(plan, "Export")
    work = bench.clone()
    before = head(work)
    assert bench.dev(work, task).code == 0
    (question,) = outbox(work)["questions"]
    assert question["options"] == ["Markdown", "HTML"]
    assert head(work) == before
    assert git(work, "status", "--porcelain") == ""

    again = bench.clone()
    bench.dev(again, task, answers=[{"question": question["text"], "answer": answer}])
    assert sign in (again / "pocket/export.py").read_text()
    assert is_green(again)
    assert bench.qa(again, task, before)["answer"] == "pass"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_whole_story_lands_in_any_order(bench: Bench, plan: dict[str, Json], seed: int) -> None:
    """All open tasks start at once on the same main, and land one after the other."""
    waves = [
        [task for task in plan.values() if not task["needs"]],
        [task for task in plan.values() if task["needs"]],
    ]
    answers = [{"question": "Should the export be Markdown or HTML?", "answer": "HTML"}]
    sent_back = 0
    for wave in waves:
        random.Random(seed).shuffle(wave)
        done = []
        for number, task in enumerate(wave):
            work = bench.clone()
            bench.dev(work, task, answers=answers)
            done.append((task, bench.publish(work, f"c{len(wave)}-{number}")))
        for task, commit in done:
            if bench.land(commit):
                continue
            sent_back += 1
            repaired = bench.sent_back(commit)
            bench.dev(repaired, task, conflict={"output": ""})
            assert bench.land(bench.publish(repaired, f"r{len(wave)}-{sent_back}")), task["title"]
    assert sent_back == 2
    assert is_green(bench.hub)


def test_a_second_run_over_finished_work_changes_nothing(
    bench: Bench, plan: dict[str, Json]
) -> None:
    task = task_named(plan, "command pocket tags")
    work = bench.clone()
    bench.dev(work, task)
    bench.dev(work, task)
    assert git(work, "rev-list", "--count", "main..task") == "1"
    assert is_green(work)


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


# --- unknown tasks and behaviours ---------------------------------------------------------


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
