"""What the PM, QA and the dev agent's outbox say, read strictly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from clawd.policy.plan.shape import (
    BadShape,
    choice,
    mapping,
    one_line,
    open_mapping,
    rows,
    text,
    whole,
)
from clawd.policy.scope import reason_outside

TEXT_LIMIT_CHARS = 4_000
SPEC_LIMIT_CHARS = 20_000
PATH_LIMIT_CHARS = 500
GOAL_LIMIT = 500
ROW_LIMIT = 50
LINE_MOST = 10_000_000


class Ruling(StrEnum):
    """QA's closed answer."""

    PASS = "pass"  # noqa: S105 - the opposite of revise
    REVISE = "revise"


class Severity(StrEnum):
    """How much a finding weighs."""

    BLOCKER = "blocker"
    MAJOR = "major"
    MINOR = "minor"


class FindingStatus(StrEnum):
    """What a dev agent did about a finding."""

    FIXED = "fixed"
    DECLINED = "declined"


@dataclass(frozen=True, slots=True)
class GoalSpec:
    """What the PM made of one roadmap item."""

    ident: str
    spec: str
    done_when: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PmQuestion:
    """What the PM must know from the operator before a goal can be planned."""

    ident: str
    text: str


@dataclass(frozen=True, slots=True)
class PmAnswer:
    """The PM's answer for the items handed to it."""

    goals: tuple[GoalSpec, ...]
    questions: tuple[PmQuestion, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing QA wants changed; without a path it is about the whole candidate."""

    id: str
    path: str
    line: int
    severity: Severity
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """QA's answer on one candidate."""

    answer: Ruling
    summary: str
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """Something the dev agent says it did; never proof by itself."""

    claim: str
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """What the dev agent asks the operator."""

    text: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProposedTask:
    """Work the dev agent saw outside its own task."""

    title: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class NoChange:
    """The claim that the contract already holds, and how to see it."""

    proof: str


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of one finding of the last review."""

    id: str
    status: FindingStatus
    note: str = ""


@dataclass(frozen=True, slots=True)
class Outbox:
    """What a dev agent left in `.clawd/outbox.json`; `ignored` are keys nobody knows."""

    claims: tuple[Claim, ...] = ()
    questions: tuple[Question, ...] = ()
    skipped: tuple[str, ...] = ()
    proposed: tuple[ProposedTask, ...] = ()
    no_change: NoChange | None = None
    answered: tuple[Answered, ...] = ()
    ignored: tuple[str, ...] = ()


def read_pm(value: object, handed: Collection[str] | None = None) -> PmAnswer:
    """The PM's structured output; with `handed`, about exactly those items and no other."""
    found = mapping(value, "", ("goals", "questions"))
    answer = PmAnswer(
        rows(found["goals"], "goals", GOAL_LIMIT, _read_goal),
        rows(found["questions"], "questions", GOAL_LIMIT, _read_pm_question),
    )
    twice = [ident for ident, n in Counter(g.ident for g in answer.goals).items() if n > 1]
    if twice:
        raise BadShape(f"goals holds {twice[0]} more than once.")
    if handed is not None:
        _judge_handed(answer, handed)
    return answer


def read_verdict(value: object) -> Verdict:
    """QA's structured output: revise names at least one finding, pass leaves no blocker."""
    found = mapping(value, "", ("answer", "summary", "findings"))
    answer = choice(found["answer"], "answer", Ruling)
    findings = rows(found["findings"], "findings", ROW_LIMIT, _read_finding)
    twice = [ident for ident, n in Counter(f.id for f in findings).items() if n > 1]
    if twice:
        raise BadShape(f"findings holds the id {twice[0]} more than once.")
    if answer is Ruling.REVISE and not findings:
        raise BadShape("findings is empty, but the answer is revise.")
    blockers = [finding.id for finding in findings if finding.severity is Severity.BLOCKER]
    if answer is Ruling.PASS and blockers:
        raise BadShape(f"The answer is pass, but the finding {blockers[0]} is a blocker.")
    summary = text(found["summary"], "summary", TEXT_LIMIT_CHARS, empty=True)
    return Verdict(answer, summary, findings)


def read_outbox(value: object) -> Outbox:
    """The dev agent's outbox; every key is optional, unknown ones are listed."""
    found = open_mapping(value, "")
    known = (
        "claims",
        "questions",
        "skipped",
        "proposed_tasks",
        "no_change_needed",
        "findings_answered",
    )
    none: list[object] = []
    no_change = found.get("no_change_needed")
    return Outbox(
        claims=rows(found.get("claims", none), "claims", ROW_LIMIT, _read_claim),
        questions=rows(found.get("questions", none), "questions", ROW_LIMIT, _read_question),
        skipped=rows(found.get("skipped", none), "skipped", ROW_LIMIT, _read_text),
        proposed=rows(
            found.get("proposed_tasks", none), "proposed_tasks", ROW_LIMIT, _read_proposed
        ),
        no_change=None if no_change is None else _read_no_change(no_change, "no_change_needed"),
        answered=rows(
            found.get("findings_answered", none), "findings_answered", ROW_LIMIT, _read_answered
        ),
        ignored=tuple(sorted(str(key)[:60] for key in found if key not in known))[:ROW_LIMIT],
    )


def _judge_handed(answer: PmAnswer, handed: Collection[str]) -> None:
    specified = {goal.ident for goal in answer.goals}
    asked = {question.ident for question in answer.questions}
    strange = sorted((specified | asked) - set(handed))
    if strange:
        raise BadShape(f"The answer speaks of {strange[0]}, which was not asked about.")
    missing = sorted(set(handed) - specified - asked)
    if missing:
        raise BadShape(f"The answer leaves out {missing[0]}.")


def _read_goal(value: object, path: str) -> GoalSpec:
    found = mapping(value, path, ("ident", "spec", "done_when"))
    return GoalSpec(
        text(found["ident"], f"{path}.ident", 100),
        text(found["spec"], f"{path}.spec", SPEC_LIMIT_CHARS),
        rows(found["done_when"], f"{path}.done_when", ROW_LIMIT, _read_text),
    )


def _read_pm_question(value: object, path: str) -> PmQuestion:
    found = mapping(value, path, ("ident", "text"))
    return PmQuestion(
        text(found["ident"], f"{path}.ident", 100), _read_text(found["text"], f"{path}.text")
    )


def _read_finding(value: object, path: str) -> Finding:
    found = mapping(value, path, ("id", "path", "line", "severity", "text"))
    file = text(found["path"], f"{path}.path", PATH_LIMIT_CHARS, empty=True).removeprefix("./")
    flaw = reason_outside(file) if file else ""
    if flaw and "names" not in flaw:
        raise BadShape(f"{path}.path {file[:80]!r} {flaw}.")
    return Finding(
        one_line(found["id"], f"{path}.id", 40),
        file,
        whole(found["line"], f"{path}.line", 0, LINE_MOST),
        choice(found["severity"], f"{path}.severity", Severity),
        _read_text(found["text"], f"{path}.text"),
    )


def _read_claim(value: object, path: str) -> Claim:
    found = mapping(value, path, ("claim",), ("evidence",))
    return Claim(
        _read_text(found["claim"], f"{path}.claim"),
        text(found.get("evidence", ""), f"{path}.evidence", TEXT_LIMIT_CHARS, empty=True),
    )


def _read_question(value: object, path: str) -> Question:
    found = mapping(value, path, ("text",), ("options",))
    return Question(
        _read_text(found["text"], f"{path}.text"),
        rows(found.get("options", []), f"{path}.options", 10, _read_text),
    )


def _read_proposed(value: object, path: str) -> ProposedTask:
    found = mapping(value, path, ("title",), ("why",))
    return ProposedTask(
        one_line(found["title"], f"{path}.title", 200),
        text(found.get("why", ""), f"{path}.why", TEXT_LIMIT_CHARS, empty=True),
    )


def _read_no_change(value: object, path: str) -> NoChange:
    found = mapping(value, path, ("proof",))
    return NoChange(_read_text(found["proof"], f"{path}.proof"))


def _read_answered(value: object, path: str) -> Answered:
    found = mapping(value, path, ("id", "status"), ("note",))
    return Answered(
        one_line(found["id"], f"{path}.id", 40),
        choice(found["status"], f"{path}.status", FindingStatus),
        text(found.get("note", ""), f"{path}.note", TEXT_LIMIT_CHARS, empty=True),
    )


def _read_text(value: object, path: str) -> str:
    return text(value, path, TEXT_LIMIT_CHARS)
