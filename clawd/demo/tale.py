"""The story of each task: what it cost, what happened to it, what proved it, where to look."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from clawd.adapters.git.bare import Bare
from clawd.model import Json
from clawd.store import lineage, views_demo, views_task
from clawd.store.lineage import Decision
from clawd.store.rows import Db
from clawd.store.views_task import Detail


@dataclass(frozen=True, slots=True)
class Proof:
    """What stands behind a task that is done; empty fields were not the case."""

    clauses: int
    check_tree: str
    verdict: int
    reviews: int
    tests: str
    tests_tree: str
    tests_ms: int
    candidate: str
    commit: str


@dataclass(frozen=True, slots=True)
class TaskTale:
    """One task of the demo as it went."""

    id: int
    goal: int | None
    title: str
    state: str
    reason: str
    action: str
    cost_micros: int
    runs: int
    rounds: int
    bounces: int
    tries: int
    agents: list[str]
    happened: list[str]
    marks: list[str]
    proof: Proof | None
    look: str


@dataclass(frozen=True, slots=True)
class _Landed:
    """A landing that others may have run into."""

    task: int
    commit: str
    at: datetime
    files: frozenset[str] = field(default_factory=frozenset)


def tell(db: Db, project: Bare, look: str) -> list[TaskTale]:
    """Every task in order; `look` is the command that `why ID` is added to."""
    details = [views_task.detail(db, task) for task in views_demo.task_ids(db)]
    landed = [found for detail in details for found in [_landed(detail)] if found is not None]
    return [
        _tale(detail, _Teller(detail, landed, project).all(db), f"{look} why {detail.id}")
        for detail in details
    ]


def _tale(seen: Detail, told: tuple[list[str], list[str]], look: str) -> TaskTale:
    happened, marks = told
    return TaskTale(
        id=seen.id,
        goal=seen.goal,
        title=seen.title,
        state=seen.state,
        reason=seen.reason,
        action=seen.action,
        cost_micros=seen.cost_micros,
        runs=len(seen.runs),
        rounds=seen.round,
        bounces=seen.bounces,
        tries=seen.tries,
        agents=sorted({run.agent for run in seen.runs}),
        happened=happened,
        marks=sorted(set(marks)),
        proof=_proof(seen),
        look=look,
    )


def _landed(seen: Detail) -> _Landed | None:
    for landing in reversed(seen.landings):
        if landing.kind == "land" and landing.state == "landed" and landing.landed_at is not None:
            files = frozenset(
                str(change["path"]) for row in seen.candidates[-1:] for change in row.stat["files"]
            )
            return _Landed(seen.id, landing.new_main, landing.landed_at, files)
    return None


def _proof(seen: Detail) -> Proof | None:
    """Only of a task that is done: the rows its end rests on."""
    if seen.state != "done" or not seen.candidates:
        return None
    candidate = seen.candidates[-1]
    passed = [verdict for verdict in seen.verdicts if verdict.answer == "pass"]
    landing = next((x for x in reversed(seen.landings) if x.state == "landed"), None)
    return Proof(
        clauses=len(candidate.checks) if candidate.check_state == "green" else 0,
        check_tree=candidate.tree,
        verdict=passed[-1].id if passed else 0,
        reviews=len(seen.verdicts),
        tests=landing.tests if landing else "",
        tests_tree=landing.tree if landing else "",
        tests_ms=(landing.tests_ms or 0) if landing else 0,
        candidate=candidate.oid,
        commit=landing.new_main if landing else "",
    )


class _Teller:
    """Turns a task's decisions into the few sentences that make it different from the others."""

    def __init__(self, seen: Detail, landed: list[_Landed], project: Bare) -> None:
        self._seen, self._landed, self._project = seen, landed, project
        self._own = next((x for x in landed if x.task == seen.id), None)
        self._reviews = 0

    def all(self, db: Db) -> tuple[list[str], list[str]]:
        """The sentences, and the marks they leave."""
        told: list[str] = []
        marks: list[str] = []
        for row in lineage.of_chain(db, "task", self._seen.id):
            sentence, mark = self._one(row)
            if sentence:
                told.append(sentence)
            if mark:
                marks.append(mark)
        return told, marks

    def _one(self, row: Decision) -> tuple[str, str]:
        match row.action:
            case "revise" | "pass" | "no_change":
                return self._review(row)
            case "bounce":
                return self._bounce(row), "bounced"
            case "ask":
                return self._question(row), "asked"
            case "fail" | "lose" | "check_red":
                return f"run {row.run}: {_plain(row.why)}; another one followed", "failed"
            case "give_up" | "park":
                action = f"; next: {self._seen.action}" if self._seen.state == "parked" else ""
                return f"parked: {_plain(row.why)}{action}", "parked"
        return "", ""

    def _review(self, row: Decision) -> tuple[str, str]:
        verdict = next((v for v in self._seen.verdicts if v.run == row.run), None)
        if verdict is None or row.inputs.get("verdict") != verdict.id or row.actor == "review":
            return "", ""  # a pass that still held: nobody read it again
        self._reviews += 1
        if verdict.answer == "revise":
            number = len(verdict.findings)
            changes = f"{number} change{'s' * (number != 1)}"
            return f"QA asked for {changes} in round {self._reviews}", "revised"
        return (f"round {self._reviews} passed", "") if self._reviews > 1 else ("", "")

    def _bounce(self, row: Decision) -> str:
        files = [str(path) for path in row.inputs.get("files", [])]
        before = self._landed_before(row.inputs)
        if files:
            guilty = [x.task for x in before if x.files & set(files)]
            named = f"task {_listed(guilty)}" if guilty else "main"
            text = f"conflicted with {named} in {', '.join(files)}, was sent back"
        else:
            also = f" (task {_listed([x.task for x in before])})" if before else ""
            text = f"turned the tests red together with what had landed{also}, was sent back"
        if self._own is not None and self._own.at > row.at:
            text += ", landed after"
        return text

    def _landed_before(self, inputs: Json) -> list[_Landed]:
        """What had landed on main since the work began."""
        ours, base = str(inputs.get("ours", "")), str(inputs.get("base", ""))
        if not ours or not base:
            return []
        return [
            x
            for x in self._landed
            if x.task != self._seen.id
            and self._project.is_ancestor(x.commit, ours)
            and not self._project.is_ancestor(x.commit, base)
        ]

    def _question(self, row: Decision) -> str:
        asked = [q for q in self._seen.questions if q.asked <= row.at]
        if not asked:
            return _plain(row.why)
        last = asked[-1]
        answer = f"{last.by} answered: {last.answer}" if last.answer else f"it is {last.state}"
        return f"asked: {last.question} ({answer})"


def _listed(tasks: list[int]) -> str:
    return ", ".join(map(str, tasks))


def _plain(text: str) -> str:
    return " ".join(text.split()).rstrip(".")[:300]
