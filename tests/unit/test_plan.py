"""What agents answer: strict readers, the plan's lint, scopes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawd.model import Clause
from clawd.policy.plan import (
    PLAN_SCHEMA,
    PM_SCHEMA,
    QA_SCHEMA,
    BadShape,
    Difficulty,
    FindingStatus,
    OpenTask,
    Outbox,
    Plan,
    PlanBounds,
    PlannedTask,
    Risk,
    Ruling,
    Severity,
    cycle_in,
    in_order,
    inside,
    lint,
    overlaps,
    read_outbox,
    read_plan,
    read_pm,
    read_verdict,
)
from clawd.policy.scope import reason_outside

PLAN: dict[str, Any] = {
    "tasks": [
        {
            "key": "t1",
            "title": "Add  the\nparser",
            "spec": "Read the file.",
            "acceptance": [{"run": "python3 -m unittest tests.test_parser", "why": "it parses"}],
            "scope": ["src/parser.py", "tests/**"],
            "may_change": ["pyproject.toml"],
            "needs": [],
            "size_minutes": 20,
            "difficulty": "easy",
            "risk": "low",
        },
        {
            "key": "t2",
            "title": "Use the parser",
            "spec": "Call it.",
            "acceptance": [{"run": "make test"}],
            "scope": ["src/main.py"],
            "needs": ["t1"],
            "size_minutes": 10.0,
            "difficulty": "hard",
            "risk": "high",
        },
    ],
    "questions": [],
}
PM: dict[str, Any] = {
    "goals": [{"ident": "a", "spec": "Do it.", "done_when": ["It works."]}],
    "questions": [{"ident": "b", "text": "Which one?"}],
}
QA: dict[str, Any] = {
    "answer": "revise",
    "summary": "Close.",
    "findings": [
        {"id": "F1", "path": "./src/a.py", "line": 3, "severity": "major", "text": "Off by one."}
    ],
}
OUTBOX: dict[str, Any] = {
    "claims": [{"claim": "Done.", "evidence": "tests"}],
    "questions": [{"text": "Red or blue?", "options": ["red", "blue"]}],
    "skipped": ["docs"],
    "proposed_tasks": [{"title": "Clean up", "why": "old code"}],
    "no_change_needed": {"proof": "grep"},
    "findings_answered": [{"id": "F1", "status": "declined", "note": "on purpose"}],
}


def planned(key: str = "t1", **changes: Any) -> PlannedTask:
    task = PlannedTask(
        key, f"Title {key}", f"Spec of {key}", (Clause("A1", "make test"),), (f"src/{key}.py",)
    )
    return replace(task, **changes)


def plan(*tasks: PlannedTask, questions: tuple[str, ...] = ()) -> Plan:
    return Plan(tasks, questions)


def changed(sample: dict[str, Any], where: list[Any], value: object) -> dict[str, Any]:
    """The sample with the value at that place; `...` as value removes the key."""
    made = copy.deepcopy(sample)
    place: Any = made
    for step in where[:-1]:
        place = place[step]
    if value is ...:
        del place[where[-1]]
    else:
        place[where[-1]] = value
    return made


# readers


def test_a_plan_is_read_into_planned_tasks() -> None:
    first, second = read_plan(PLAN).tasks
    assert first.title == "Add the parser"
    assert first.acceptance == (Clause("A1", "python3 -m unittest tests.test_parser", "it parses"),)
    assert first.may_change == ("pyproject.toml",)
    assert (second.needs, second.size_minutes) == (("t1",), 10)
    assert (second.difficulty, second.risk) == (Difficulty.HARD, Risk.HIGH)


def test_a_pm_answer_is_read_into_specs_and_questions() -> None:
    answer = read_pm(PM, ["a", "b"])
    assert answer.goals[0].done_when == ("It works.",)
    assert answer.questions[0].ident == "b"


def test_a_verdict_is_read_with_relative_paths() -> None:
    verdict = read_verdict(QA)
    assert verdict.answer is Ruling.REVISE
    assert (verdict.findings[0].path, verdict.findings[0].severity) == ("src/a.py", Severity.MAJOR)


def test_an_outbox_is_read_and_every_key_is_optional() -> None:
    outbox = read_outbox(OUTBOX)
    assert outbox.claims[0].claim == "Done."
    assert outbox.questions[0].options == ("red", "blue")
    assert outbox.no_change is not None
    assert outbox.answered[0].status is FindingStatus.DECLINED
    assert outbox.proposed[0].title == "Clean up"
    assert read_outbox({}) == Outbox()
    assert read_outbox({"no_change_needed": None, "mood": 1}) == Outbox(ignored=("mood",))


T = ["tasks", 0]
BAD_PLANS = [
    (["tasks"], ..., "tasks is missing."),
    (["tasks"], {}, "tasks must be a list, not an object."),
    (["extra"], 1, "extra is no key of this answer."),
    ([*T], 3, "tasks[0] must be an object, not a number."),
    ([*T, "spec"], ..., "tasks[0].spec is missing."),
    ([*T, "color"], 1, "tasks[0].color is no key of this answer."),
    ([*T, "title"], "   ", "tasks[0].title is empty."),
    ([*T, "title"], "x" * 1_000_000, "tasks[0].title is 1000000 characters long; at most 160"),
    ([*T, "spec"], "a\0b", "tasks[0].spec holds characters that are not text."),
    ([*T, "spec"], "\ud800", "tasks[0].spec holds characters that are not text."),
    ([*T, "spec"], None, "tasks[0].spec must be text, not null."),
    ([*T, "key"], "-rf $(x)", "tasks[0].key may hold letters"),
    ([*T, "acceptance"], "make", "tasks[0].acceptance must be a list, not text."),
    ([*T, "acceptance", 0], {"why": "x"}, "tasks[0].acceptance[0].run is missing."),
    ([*T, "scope", 1], 7, "tasks[0].scope[1] must be text, not a number."),
    ([*T, "size_minutes"], "20", "tasks[0].size_minutes must be a whole number, not text."),
    ([*T, "size_minutes"], True, "tasks[0].size_minutes must be a whole number, not true"),
    ([*T, "size_minutes"], 1e400, "tasks[0].size_minutes must be a whole number"),
    ([*T, "size_minutes"], -1, "tasks[0].size_minutes must be between 0 and"),
    ([*T, "risk"], "none", "tasks[0].risk must be one of low, medium, high, not 'none'."),
    (["questions"], ["?"] * 51, "questions holds 51 rows; at most 50 are read."),
]
BAD_PMS = [
    (["goals", 0, "ident"], "z", "The answer speaks of z, which was not asked about."),
    (["questions"], [], "The answer leaves out b."),
    (["goals"], [*PM["goals"], *PM["goals"]], "goals holds a more than once."),
    (["goals", 0, "done_when"], "x", "goals[0].done_when must be a list, not text."),
]
F = ["findings", 0]
BAD_VERDICTS = [
    (["answer"], "lgtm", "answer must be one of pass, revise, not 'lgtm'."),
    (["findings"], [], "findings is empty, but the answer is revise."),
    ([*F, "path"], "/etc/passwd", "'/etc/passwd' is not relative to the repository."),
    ([*F, "path"], "a/../../b", "leaves the repository."),
    ([*F, "line"], -1, "findings[0].line must be between 0"),
    ([*F, "severity"], "huge", "findings[0].severity must be one of blocker, major, minor"),
    ([*F, "text"], "", "findings[0].text is empty."),
    (["findings"], QA["findings"] * 2, "findings holds the id F1 more than once."),
    (["findings"], QA["findings"] * 51, "findings holds 51 rows"),
    (["summary"], "x" * 5_000, "summary is 5000 characters long"),
]
BAD_OUTBOXES = [
    (["claims"], "done", "claims must be a list, not text."),
    (["claims", 0], {"evidence": "x"}, "claims[0].claim is missing."),
    (["no_change_needed"], True, "no_change_needed must be an object, not true or false."),
    (["no_change_needed"], {"proof": " "}, "no_change_needed.proof is empty."),
    (["findings_answered", 0, "status"], "done", "must be one of fixed, declined, not 'done'."),
    (["questions", 0, "options"], ["x"] * 11, "questions[0].options holds 11 rows"),
]
BAD = [
    *[(read_plan, PLAN, *row) for row in BAD_PLANS],
    *[(lambda value: read_pm(value, ["a", "b"]), PM, *row) for row in BAD_PMS],
    *[(read_verdict, QA, *row) for row in BAD_VERDICTS],
    *[(read_outbox, OUTBOX, *row) for row in BAD_OUTBOXES],
]


@pytest.mark.parametrize(("read", "sample", "where", "value", "sentence"), BAD)
def test_a_wrong_shape_is_refused_with_its_place(
    read: Callable[[object], object],
    sample: dict[str, Any],
    where: list[Any],
    value: object,
    sentence: str,
) -> None:
    with pytest.raises(BadShape) as caught:
        read(changed(sample, where, value))
    assert sentence in caught.value.message


def test_passing_with_a_blocker_left_is_refused() -> None:
    value = changed(changed(QA, [*F, "severity"], "blocker"), ["answer"], "pass")
    with pytest.raises(BadShape, match="F1 is a blocker"):
        read_verdict(value)


def test_passing_with_minor_findings_is_fine() -> None:
    assert read_verdict(changed(QA, ["answer"], "pass")).findings


READERS = [read_plan, read_pm, read_verdict, read_outbox]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["tasks", "questions", "goals", "findings", "answer", "claims", "key"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(JSON)
def test_no_value_raises_anything_but_bad_shape(value: object) -> None:
    for read in READERS:
        try:
            read(value)  # type: ignore[operator]
        except BadShape as error:
            assert "\n" not in error.message  # noqa: PT017 - the other outcome is fine too


def required_paths(schema: dict[str, Any], where: list[Any]) -> list[list[Any]]:
    """Where each required key of a schema stands in a sample, first rows taken."""
    found: list[list[Any]] = []
    for name, inner in schema["properties"].items():
        if name in schema["required"]:
            found.append([*where, name])
        row = inner.get("items", {})
        if row.get("type") == "object":
            found += required_paths(row, [*where, name, 0])
    return found


@pytest.mark.parametrize(
    ("read", "sample", "schema"),
    [(read_plan, PLAN, PLAN_SCHEMA), (read_pm, PM, PM_SCHEMA), (read_verdict, QA, QA_SCHEMA)],
)
def test_the_schema_asks_for_what_the_reader_needs(
    read: Callable[[object], object], sample: dict[str, Any], schema: dict[str, Any]
) -> None:
    assert schema["type"] == "object"
    for where in required_paths(schema, []):
        with pytest.raises(BadShape, match="is missing"):
            read(changed(sample, where, ...))


# lint


def test_a_sound_plan_has_no_reasons_against_it() -> None:
    assert lint(read_plan(PLAN), known_paths=["src/main.py", "pyproject.toml"]) == ()


def test_a_plan_of_questions_alone_waits_for_the_operator() -> None:
    assert lint(plan(questions=("Which database?",))) == ()


OPEN = [OpenTask(7, "Title T9!", ("src/x.py",), "Read the file and print every line of it.")]
LINTS: list[tuple[Plan, str]] = [
    (plan(), "The plan is empty"),
    (plan(planned(), questions=("?",)), "has tasks and open questions"),
    (plan(*[planned(f"t{n}") for n in range(20, 33)]), "has 13 tasks; at most 12"),
    (plan(planned(), planned(title="Other")), "The key t1 is used by 2 tasks."),
    (plan(planned(needs=("t9",))), "Task t1 needs t9, which is not in the plan."),
    (plan(planned(needs=("t1",))), "in a circle: t1 -> t1."),
    (
        plan(planned("a", needs=("c",)), planned("b", needs=("a",)), planned("c", needs=("b",))),
        "in a circle: a -> c -> b -> a.",
    ),
    (plan(planned(acceptance=())), "Task t1 has no acceptance command."),
    (plan(planned(acceptance=(Clause("A1", "make"),) * 11)), "more than 10 acceptance"),
    (plan(planned(acceptance=(Clause("A1", " "),))), "A1: the command is empty."),
    (plan(planned(acceptance=(Clause("A1", "a\nb"),))), "A1: the command is not one line."),
    (plan(planned(acceptance=(Clause("A1", "a\0b"),))), "A1: the command is not one line."),
    (plan(planned(acceptance=(Clause("A1", "x" * 1_001),))), "is longer than 1000 characters."),
    (plan(planned(acceptance=(Clause("A1", "grep 'a"),))), "a quote that is never closed."),
    (plan(planned(acceptance=(Clause("A1", "true"),))), "so it proves nothing."),
    (plan(planned(acceptance=(Clause("A1", "echo ok"),))), "so it proves nothing."),
    (plan(planned(size_minutes=9)), "planned for 9 minutes; a task takes 10 to 30."),
    (plan(planned(size_minutes=31)), "planned for 31 minutes"),
    (plan(planned(scope=())), "Task t1 has no scope."),
    (plan(planned(scope=("/etc/x",))), "'/etc/x' is not relative to the repository."),
    (plan(planned(scope=("~/x",))), "'~/x' is not relative"),
    (plan(planned(scope=("C:\\x",))), "is not relative"),
    (plan(planned(scope=("a/../../x",))), "leaves the repository."),
    (plan(planned(scope=(".git/config",))), "names .git, which no task may touch."),
    (plan(planned(scope=("sub/.GIT/hooks",))), "names .git, which no task may touch."),
    (plan(planned(scope=(".clawd/outbox.json",))), "names .clawd, which no task may touch."),
    (plan(planned(scope=("./ROADMAP.md",))), "names ROADMAP.md, which only the operator"),
    (plan(planned(may_change=("roadmap.md",))), "the may_change 'roadmap.md' names ROADMAP.md"),
    (plan(planned(scope=("src/a\x07",))), "is not a path."),
    (plan(planned(scope=("README.md/x",))), "lies below a file."),
    (plan(planned("a", title="Same, same"), planned("b", title="same same")), "the same title."),
    (plan(planned("t9")), "Task t9 repeats the open task 7 ('Title T9!')."),
    (
        plan(planned(scope=("src/x.py",), spec="Read the file and print each line of it.")),
        "repeats the open task 7",
    ),
]


@pytest.mark.parametrize(("flawed", "reason"), LINTS, ids=[reason for _, reason in LINTS])
def test_a_flawed_plan_is_refused_with_the_reason(flawed: Plan, reason: str) -> None:
    reasons = lint(flawed, open_tasks=OPEN, known_paths=["README.md", "src/x.py"])
    assert len(reasons) == 1, reasons
    assert reason in reasons[0]


def test_the_bounds_of_a_plan_are_settable() -> None:
    bounds = PlanBounds(tasks_most=1, minutes_most=60)
    assert lint(plan(planned(size_minutes=60)), bounds=bounds) == ()
    assert len(lint(plan(planned("a"), planned("b")), bounds=bounds)) == 1


@pytest.mark.parametrize(
    "command",
    [
        "python3 -m unittest",
        "test \"$(grep -c 'x' a.txt)\" = 3",
        "echo hi | grep hi",
        "true && make test",
        "./check  # don't worry",
    ],
)
def test_a_command_that_can_fail_is_fine(command: str) -> None:
    assert lint(plan(planned(acceptance=(Clause("A1", command),)))) == ()


KEYS = [f"t{n}" for n in range(6)]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sets(st.sampled_from(KEYS), max_size=3), min_size=6, max_size=6))
def test_tasks_are_ordered_after_their_needs_or_a_real_circle_is_named(
    needs: list[set[str]],
) -> None:
    tasks = [
        planned(key, needs=tuple(sorted(wanted))) for key, wanted in zip(KEYS, needs, strict=True)
    ]
    circle = cycle_in(tasks)
    by_key = {task.key: task for task in tasks}
    if circle:
        for key, following in zip(circle, (*circle[1:], circle[0]), strict=True):
            assert following in by_key[key].needs
        with pytest.raises(BadShape, match="circle"):
            in_order(plan(*tasks))
        return
    placed: set[str] = set()
    for task in in_order(plan(*tasks)):
        assert placed.issuperset(task.needs)
        placed.add(task.key)
    assert placed == set(KEYS)


def test_independent_tasks_keep_their_order() -> None:
    tasks = [planned("b"), planned("a"), planned("c", needs=("a",))]
    assert [task.key for task in in_order(plan(*tasks))] == ["b", "a", "c"]


# scopes


@pytest.mark.parametrize(
    ("path", "scopes", "answer"),
    [
        ("src/a.py", ["src/a.py"], True),
        ("src/a.py", ["./src/"], True),
        ("src/deep/a.py", ["src"], True),
        ("src/deep/a.py", ["src/**"], True),
        ("src/deep/a.py", ["src/*.py"], False),
        ("src/a.py", ["src/*.py"], True),
        ("a.py", ["**/*.py"], True),
        ("x/y/a.py", ["**/*.py"], True),
        ("srcs/a.py", ["src"], False),
        ("src/a.pyc", ["src/a.py"], False),
        ("app/[id]/page.tsx", ["app/[id]/**"], True),
        ("anything", ["."], True),
        ("a/b", ["**"], True),
        ("b.txt", ["a.txt", "b.???"], True),
        ("b.txt", [], False),
    ],
)
def test_a_file_belongs_to_a_scope(path: str, scopes: list[str], answer: bool) -> None:
    assert inside(path, scopes) is answer


@pytest.mark.parametrize(
    ("a", "b", "answer"),
    [
        (["src/a.py"], ["src/a.py"], True),
        (["src/a.py"], ["src/b.py"], False),
        (["src"], ["src/a.py"], True),
        (["src/**"], ["docs/**"], False),
        (["tests/test_a.py", "src/a.py"], ["tests/test_b.py", "src/b.py"], False),
        (["src/*.py"], ["src/*.md"], False),
        (["src/a*.py"], ["src/*b.py"], True),
        (["src/*/x.py"], ["src/lib/x.py"], True),
        (["**/*.py"], ["docs/*.md"], False),
        (["**/*.py"], ["src/a.py"], True),
        (["**/*.py"], ["src"], True),
        (["**"], ["src/a.py"], True),
        ([], ["src/a.py"], True),
        (["."], ["src/a.py"], True),
    ],
)
def test_scopes_that_could_meet_in_a_file_overlap(a: list[str], b: list[str], answer: bool) -> None:
    assert overlaps(a, b) is answer
    assert overlaps(b, a) is answer


FOLDERS = st.lists(st.sampled_from(["a", "b", "ab"]), max_size=3)
FILES = st.builds(
    lambda folders, name: "/".join([*folders, name]), FOLDERS, st.sampled_from(["a.p", "b.q", "ab"])
)
GLOBS = st.builds(
    lambda parts, last: "/".join([*parts, last]),
    st.lists(st.sampled_from(["a", "b", "*", "**", "a*", "?", "*b"]), max_size=3),
    st.sampled_from(["a.p", "*.p", "*", "**", "a", "ab", "*b*", "?.q", "a**"]),
)


@settings(max_examples=500, deadline=None)
@given(GLOBS, GLOBS, st.lists(FILES, min_size=5, max_size=25))
def test_a_file_in_both_scopes_means_they_overlap(a: str, b: str, files: list[str]) -> None:
    for path in files:
        if inside(path, [a]) and inside(path, [b]):
            assert overlaps([a], [b])
    assert overlaps([a], [a])


@pytest.mark.parametrize("scope", ["src/**", ".github/workflows/ci.yml", "docs/ROADMAP.md", "a b"])
def test_ordinary_paths_are_within_the_repository(scope: str) -> None:
    assert reason_outside(scope) == ""
