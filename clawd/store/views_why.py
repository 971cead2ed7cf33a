"""Read model of a task's story: why it is where it is, each line citing its lineage."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from clawd.model import Json
from clawd.policy.budget import usd
from clawd.store import lineage, views_task
from clawd.store.lineage import Decision
from clawd.store.rows import Db
from clawd.store.views_task import CandidateLine, Detail, LandingLine, RunLine, VerdictLine

_PHRASES = {
    "ask": "The agent asked",
    "intend": "About to land",
    "ask_undo": "The operator wants it back",
    "hold": "Held for a person",
    "fail": "The run failed",
    "lose": "The run was lost",
    "yield": "The run gave the task back",
    "give_up": "Given up",
    "check_red": "The check was red",
    "bounce": "Sent back from the train",
    "review": "Sent back to review",
    "pass": "QA's pass still holds",
    "no_change": "Nothing has to change",
    "prove": "Proven",
    "miss": "Not proven yet",
    "park": "Parked",
    "cancel": "Cancelled",
    "retry": "Started over",
    "reopen": "Reopened",
    "deny": "Refused by the operator",
    "expire": "Nobody answered in time",
    "resume_dev": "Went on",
    "resume_review": "Went on to review",
    "resume_merge": "Went on to the train",
    "resume_proof": "Went on to its proof",
    "edit": "Edited",
    "budget": "Money",
    "run_fail": "The run ended",
    "run_fence": "A run was fenced off",
    "run_lose": "A run was lost",
    "run_cancel": "A run was ended",
}
_QUIET = frozenset({"run_load", "run_execute", "run_complete", "start", "run_create"})


@dataclass(frozen=True, slots=True)
class Line:
    """One sentence of the story and the lineage rows that prove it."""

    at: datetime | None
    text: str
    lineage: list[int]


@dataclass(frozen=True, slots=True)
class Story:
    """Why a task is where it is."""

    task: int
    title: str
    state: str
    headline: str
    lines: list[Line]
    cost_micros: int
    rows: int


def why(db: Db, task: int) -> Story:
    """The story of a task, told from its rows alone."""
    seen = views_task.detail(db, task)
    decisions = lineage.of_chain(db, "task", task)
    told = [_origin(seen, decisions)]
    teller = _Teller(seen)
    told += [line for decision in decisions[1:] for line in teller.tell(decision)]
    runs = len(seen.runs)
    told.append(
        Line(None, f"It cost {usd(seen.cost_micros)} in {runs} run{'s' * (runs != 1)}.", [])
    )
    return Story(
        seen.id, seen.title, seen.state, _headline(seen), told, seen.cost_micros, len(decisions)
    )


def _origin(seen: Detail, decisions: list[Decision]) -> Line:
    first = decisions[:1]
    if seen.goal is not None:
        text = f"Goal {seen.goal} asked for it: {seen.goal_title} (ROADMAP.md line "
        text += f"{seen.roadmap_line})."
    else:
        text = f"{_sentence(first[0].why) if first else 'It was added.'}"
    return Line(first[0].at if first else None, text, [row.id for row in first])


def _headline(seen: Detail) -> str:
    """Where the task stands, in one sentence."""
    landed = next(
        (x for x in reversed(seen.landings) if x.kind == "land" and x.state == "landed"), None
    )
    if seen.state in ("done", "verifying") and landed is not None:
        reviews = len(seen.verdicts)
        return (
            f"Task {seen.id} landed as {landed.new_main[:12]}: QA passed on review {reviews}, "
            f"revise {seen.round} of 3, {_tests(landed)}."
        )
    if seen.state == "done":
        return f"Task {seen.id} is done: nothing had to change, and that was proven."
    tail = f": {seen.reason}" if seen.reason else ""
    who = f" It is {_turn(seen.owner)}." if seen.state in ("parked", "waiting") else ""
    action = f" Next: {seen.action}" if seen.action else ""
    return f"Task {seen.id} is {seen.state}{tail}.{who}{action}"


def _turn(owner: str) -> str:
    return "your turn" if owner == "operator" else f"{owner}'s turn"


class _Teller:
    """Turns decisions into sentences with the rows they point to."""

    def __init__(self, seen: Detail) -> None:
        self._seen = seen
        self._runs = {run.id: run for run in seen.runs}
        self._candidates = {row.run: row for row in seen.candidates}
        self._verdicts = {row.run: row for row in seen.verdicts}
        self._reviews = 0
        self._revises = 0
        self._checked: set[int] = set()

    def tell(self, row: Decision) -> list[Line]:
        if row.action in _QUIET:
            return []
        run = self._runs.get(row.run or 0)
        text = self._known(row, run) or self._plain(row, run)
        return [Line(row.at, text, [row.id])]

    def _known(self, row: Decision, run: RunLine | None) -> str:
        if row.action == "claim" and run is not None:
            return f"{run.agent} ({run.tier}) took it as {run.role} in run {run.id}: {row.why}."
        if row.action == "finish" and run is not None:
            return f"{_worked(run)} and handed in {_candidate(self._candidates.get(run.id))}."
        if row.action in ("pass", "revise") and run is not None and run.id in self._verdicts:
            return self._review(self._verdicts[run.id], run)
        if row.action == "land":
            return _landing(self._seen, row)
        if row.action == "revert":
            return f"Its landing was undone: {row.why}."
        return ""

    def _review(self, verdict: VerdictLine, run: RunLine) -> str:
        self._reviews += 1
        said = f"QA {verdict.agent} answered on review {self._reviews}"
        checked = _check(
            next((c for c in self._seen.candidates if c.id == verdict.candidate), None)
        )
        if verdict.answer == "pass":
            return f"{said}: pass ({usd(run.cost_micros)}){checked}. {verdict.summary}".strip()
        self._revises += 1
        first = verdict.findings[0] if verdict.findings else {}
        number = len(verdict.findings)
        found = f"{number} finding{'s' * (number != 1)}"
        about = f", first: {first.get('path', '')}:{first.get('line', '')} {first.get('text', '')}"
        return f"{said}: revise {self._revises} of 3 with {found}{about if first else ''}."

    def _plain(self, row: Decision, run: RunLine | None) -> str:
        where = f" (run {run.id}, {run.agent}, {usd(run.cost_micros)})" if run is not None else ""
        said = _PHRASES.get(row.action) or row.action.replace("_", " ").capitalize()
        return _ended(f"{said}{where}: {row.why.strip() or 'no reason was written'}")


def _worked(run: RunLine) -> str:
    return f"{run.agent} worked {_span(run.minutes)}, {run.turns} turns, {usd(run.cost_micros)}"


def _span(minutes: float) -> str:
    return f"{minutes:.0f} min" if minutes >= 2 else f"{minutes * 60:.0f} s"


def _candidate(found: CandidateLine | None) -> str:
    if found is None:
        return "its work"
    if found.no_change:
        return "the proof that nothing has to change"
    return f"candidate {found.oid[:12]}{_size(found.stat)}"


def _size(stat: Json) -> str:
    """How much a candidate changes, as far as its description says."""
    files = stat.get("files")
    if not isinstance(files, list):
        return ""
    added, deleted = (
        sum(int(file.get(key) or 0) for file in files if isinstance(file, dict))
        for key in ("added", "deleted")
    )
    return f" ({len(files)} file{'s' * (len(files) != 1)}, +{added} -{deleted})"


def _check(found: CandidateLine | None) -> str:
    if found is None or found.check_state == "due":
        return ""
    number = len(found.checks)
    commands = f"{number} command{'s' * (number != 1)}"
    return f", check {found.check_state} on tree {found.tree[:12]} ({commands})"


def _landing(seen: Detail, row: Decision) -> str:
    found = next(
        (x for x in reversed(seen.landings) if x.kind == "land" and x.state != "void"), None
    )
    if found is None:
        return f"It landed: {row.why}."
    return f"It landed as commit {found.new_main[:12]} on {found.old_main[:12]}: {_tests(found)}."


def _tests(landing: LandingLine) -> str:
    if not landing.tests:
        return f"tree {landing.tree[:12]}"
    took = f" in {landing.tests_ms / 1000:.1f} s" if landing.tests_ms else ""
    return f"tests {landing.tests} on tree {landing.tree[:12]}{took}"


def _ended(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _sentence(text: str) -> str:
    cleaned = text.strip().rstrip(".")
    return f"{cleaned[:1].upper()}{cleaned[1:]}." if cleaned else "It was added."
