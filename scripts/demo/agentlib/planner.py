"""The planner: turns a goal into tasks with acceptance commands and scopes."""

from __future__ import annotations

from typing import Any

from agentlib.behave import Behaviour
from agentlib.plans import plan_for
from agentlib.prompt import goal_of
from agentlib.session import Session
from agentlib.workspace import slug


def answer(session: Session, prompt: str, wanted: list[Behaviour]) -> dict[str, Any]:
    """The plan for the goal in the prompt, prepared or a single general task."""
    title, body = goal_of(prompt)
    session.say(f"Planning: {title[:200]}")
    session.think(1.2)
    tasks = [dict(task) for task in plan_for(title)] or [_general(title, body)]
    plan: dict[str, Any] = {"tasks": tasks, "questions": []}
    for each in wanted:
        plan = SPOILT.get(each.name, _unchanged)(plan)
    return plan


def _general(title: str, body: str) -> dict[str, Any]:
    """One note about the goal: any repository can take it and any shell can check it."""
    path = f"notes/{slug(title)}.md"
    return {
        "key": "t1",
        "title": title[:150],
        "spec": f"Write {path}: what the goal asks for, in a few lines.\n\n{body[:8000]}".strip(),
        "acceptance": [{"run": f"test -s {path}", "why": "the note is there and not empty"}],
        "scope": [path],
        "may_change": [],
        "needs": [],
        "size_minutes": 10,
        "difficulty": "easy",
        "risk": "low",
    }


def _unchanged(plan: dict[str, Any]) -> dict[str, Any]:
    return plan


def _cycle(plan: dict[str, Any]) -> dict[str, Any]:
    first = {**plan["tasks"][0], "key": "t1", "needs": ["t2"]}
    second = {**first, "key": "t2", "title": f"{first['title']}, again", "needs": ["t1"]}
    return {**plan, "tasks": [first, second]}


def _spoil_first(**changes: Any) -> Any:
    return lambda plan: {**plan, "tasks": [{**plan["tasks"][0], **changes}, *plan["tasks"][1:]]}


SPOILT = {
    "plan-cycle": _cycle,
    "plan-empty": lambda plan: {**plan, "tasks": []},
    "plan-no-acceptance": _spoil_first(acceptance=[]),
    "plan-outside": _spoil_first(scope=["../elsewhere/**"]),
    "plan-too-big": _spoil_first(size_minutes=500),
    "plan-question": lambda plan: {**plan, "questions": ["Which of the two is meant?"]},
    "bad-plan": lambda _plan: {"steps": ["think", "do"]},
}
