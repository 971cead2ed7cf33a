"""What an agent is told: the three files in its workspace and the prompt on its stdin."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from clawd.model import Candidate, Contract, Goal, Json, Task

LARGEST_OUTPUT_CHARS = 20_000


@dataclass(frozen=True, slots=True)
class Context:
    """What happened to the task before this run, and what the daemon knows."""

    round: int = 0
    findings: tuple[Json, ...] = ()
    failures: tuple[Json, ...] = ()
    conflict: Json | None = None
    notes: tuple[str, ...] = ()
    facts: Json | None = None


def task_file(task: Task, contract: Contract, role: str, base: str, limits: Json) -> str:
    """current-task.json: the contract."""
    body = {
        "task": task.id,
        "title": task.title,
        "role": role,
        "contract_version": task.contract_version,
        "spec": contract.spec,
        "acceptance": [asdict(clause) for clause in contract.acceptance],
        "scope": list(contract.scope),
        "may_change": list(contract.may_change),
        "round": task.round,
        "base": base,
        "limits": limits,
    }
    return json.dumps(body, indent=1, ensure_ascii=False)


def context_file(contract: Contract, context: Context) -> str:
    """context-snapshot.json: what earlier runs left behind."""
    body = {
        "round": context.round,
        "findings": list(context.findings),
        "failures": list(context.failures),
        "answers": [asdict(answer) for answer in contract.answers],
        "conflict": context.conflict,
        "notes": list(context.notes),
        "facts": context.facts or {},
    }
    return json.dumps(body, indent=1, ensure_ascii=False)


def dev_prompt(task: Task, contract: Contract, context: Context, resumed: bool) -> str:
    """The developer's message; a resumed session is told only what is new."""
    parts = ["Role: dev", ""]
    if resumed:
        parts += ["You go on with the same task in a fresh clone of your work.", ""]
    parts += [f"# Task {task.id}: {task.title}", "", contract.spec, ""]
    parts += _acceptance(contract)
    parts += _scope(contract)
    parts += _answers(contract)
    parts += _history(context)
    parts += [
        "The whole contract is in `.clawd/current-task.json`, what happened before in "
        "`.clawd/context-snapshot.json`. Commit your work, then stop. To ask, write "
        "`.clawd/outbox.json` and stop.",
    ]
    return "\n".join(parts)


def qa_prompt(task: Task, contract: Contract, candidate: Candidate, context: Context) -> str:
    """The reviewer's message: the contract, the candidate and the daemon's own facts."""
    parts = ["Role: qa", "", f"# Review of task {task.id}: {task.title}", "", contract.spec, ""]
    parts += _acceptance(contract)
    parts += _scope(contract)
    parts += _answers(contract)
    parts += [
        f"The tree in front of you is candidate {candidate.oid[:12]} "
        f"on base {candidate.base_oid[:12]}, read-only.",
        "The facts in `.clawd/context-snapshot.json` were checked by the daemon, not claimed:",
        "",
        _block(json.dumps(context.facts or {}, indent=1, ensure_ascii=False)),
        "",
    ]
    if context.findings:
        parts += ["Findings of the review before this one:", "", _findings(context), ""]
    parts.append("Judge the candidate against the contract and answer by the schema.")
    return "\n".join(parts)


def planner_prompt(
    goal: Goal, siblings: list[Json], files: list[str], reasons: list[str], bounds: str
) -> str:
    """The planner's message: one goal, what is open already, and why its last plan came back."""
    parts = ["Role: planner", "", f"# Goal {goal.id}: {goal.title}", "", goal.body, ""]
    if goal.spec:
        parts += ["The specification:", "", _block(json.dumps(goal.spec, indent=1)), ""]
    parts += [f"Cut this goal into tasks. {bounds}", ""]
    if siblings:
        parts += ["Open tasks of this project:", "", _block(json.dumps(siblings, indent=1)), ""]
    if reasons:
        parts += ["Your last plan was refused:", "", *[f"- {reason}" for reason in reasons], ""]
    parts += ["Files on main:", "", _block("\n".join(files[:400])), ""]
    return "\n".join(parts)


def pm_prompt(items: list[Json]) -> str:
    """The PM's message: only the roadmap items that changed."""
    return "\n".join(
        [
            "Role: pm",
            "",
            "These roadmap items are new or changed. Write a specification for each, "
            "or ask the operator one question where you cannot.",
            "",
            _block(json.dumps(items, indent=1, ensure_ascii=False), "json"),
        ]
    )


def cut(text: str, limit_chars: int = LARGEST_OUTPUT_CHARS) -> str:
    """The end of a long output: where test runners put what went wrong."""
    return text if len(text) <= limit_chars else "[...]\n" + text[-limit_chars:]


def _acceptance(contract: Contract) -> list[str]:
    if not contract.acceptance:
        return []
    lines = [f"- {c.id}: `{c.run}`" + (f" ({c.why})" if c.why else "") for c in contract.acceptance]
    return ["Acceptance, each command must exit 0:", "", *lines, ""]


def _scope(contract: Contract) -> list[str]:
    if not contract.scope:
        return []
    return ["Scope: " + ", ".join(f"`{glob}`" for glob in contract.scope), ""]


def _answers(contract: Contract) -> list[str]:
    lines = [f"- {a.question}\n  Answer: {a.answer}" for a in contract.answers]
    return ["The operator answered:", "", *lines, ""] if lines else []


def _history(context: Context) -> list[str]:
    parts: list[str] = []
    if context.findings:
        parts += ["The review asks for these changes, answer each by its id:", ""]
        parts += [_findings(context), ""]
    if context.conflict:
        parts += ["Your candidate could not land on today's main:", ""]
        parts += [_block(json.dumps(context.conflict, indent=1, ensure_ascii=False)), ""]
        parts += ["It is merged onto that main in your workspace; resolve what is left.", ""]
    for failure in context.failures:
        parts += [f"Run {failure['run']} failed ({failure['reason']}):", ""]
        parts += [_block(cut(str(failure["detail"]))), ""]
    return parts


def _findings(context: Context) -> str:
    return "\n".join(
        f"- {f['id']} [{f['severity']}] {f['path']}:{f['line']}: {f['text']}"
        for f in context.findings
    )


def _block(text: str, language: str = "") -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text}\n{fence}"


def outbox_text(value: Any) -> str:
    """A value of an agent's outbox as one short line for a person."""
    return " ".join(str(value).split())[:500]
