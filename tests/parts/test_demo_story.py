"""The demo's story over real commits: plan, review, conflict, question, in any order."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from clawd.policy.plan import OpenTask, lint, read_outbox, read_plan, read_pm, read_verdict
from clawd.policy.roadmap import parse
from tests.parts.agent_ground import (
    DEMO,
    GOALS,
    SCHEMA,
    Bench,
    Json,
    git,
    goal_prompt,
    head,
    is_green,
    make_bench,
    outbox,
    pack_agent,
)


@pytest.fixture(scope="module")
def claude(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_agent(tmp_path_factory.mktemp("agent"))


@pytest.fixture
def bench(tmp_path: Path, claude: Path) -> Bench:
    return make_bench(tmp_path, claude)


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


def test_the_sample_is_green_and_its_roadmap_has_five_open_goals(bench: Bench) -> None:
    assert is_green(bench.hub)
    items = parse((DEMO / "project/ROADMAP.md").read_text()).items
    assert [item.title for item in items if not item.done] == list(GOALS)
    assert sum(item.done for item in items) == 1
    assert [item.ident for item in items if item.ident] == ["search"]


def test_clawd_accepts_every_plan_beside_the_tasks_of_the_others(bench: Bench) -> None:
    files = git(bench.hub, "ls-files").splitlines()
    open_tasks: list[OpenTask] = []
    for title in (*GOALS, "Something nobody prepared"):
        plan = read_plan(bench.run(bench.hub, goal_prompt(title), *SCHEMA).answer)
        assert lint(plan, open_tasks=open_tasks, known_paths=files) == ()
        open_tasks += [OpenTask(1, t.title, t.scope, t.spec) for t in plan.tasks]


def test_the_pm_writes_a_goal_for_each_changed_item(bench: Bench) -> None:
    items = [
        {"ident": "search", "title": GOALS[1], "detail": "title hits first"},
        {"ident": "odd", "title": "Something ```else```", "detail": "[behave: lie]"},
    ]
    prompt = f"Role: pm\n\nNew items:\n\n````json\n{json.dumps(items, indent=1)}\n````\n"
    answer = bench.run(bench.hub, prompt, *SCHEMA).answer
    assert [goal["ident"] for goal in answer["goals"]] == ["search", "odd"]
    assert answer["questions"] == []
    assert read_pm(answer, ["search", "odd"])
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
    assert len(read_verdict(first).findings) == 4
    assert {"minor", "blocker", "major"} == {f["severity"] for f in first["findings"]}

    again = bench.clone(bench.publish(work, "first"))
    assert bench.dev(again, {**task, "round": 1}, round=1, findings=first["findings"]).code == 0
    answered = outbox(again)["findings_answered"]
    assert len(read_outbox(outbox(again)).answered) == len(answered)
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


@pytest.mark.parametrize("seed", [0, 1])
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
