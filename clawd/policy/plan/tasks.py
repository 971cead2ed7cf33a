"""The planner's answer as planned tasks, and the order in which they can be done."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from clawd.model import Clause
from clawd.policy.plan.shape import BadShape, choice, mapping, one_line, rows, text, whole

TITLE_LIMIT_CHARS = 160
SPEC_LIMIT_CHARS = 12_000
COMMAND_LIMIT_CHARS = 1_000
WHY_LIMIT_CHARS = 1_000
SCOPE_LIMIT_CHARS = 300
QUESTION_LIMIT_CHARS = 2_000
TASK_LIMIT = 100
ROW_LIMIT = 50

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")


class Difficulty(StrEnum):
    """How hard the planner thinks a task is."""

    EASY = "easy"
    NORMAL = "normal"
    HARD = "hard"


class Risk(StrEnum):
    """What could go wrong when a task is done badly."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """A task before it exists: `key` and `needs` only mean something inside their plan."""

    key: str
    title: str
    spec: str
    acceptance: tuple[Clause, ...]
    scope: tuple[str, ...]
    may_change: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    size_minutes: int = 20
    difficulty: Difficulty = Difficulty.NORMAL
    risk: Risk = Risk.LOW


@dataclass(frozen=True, slots=True)
class Plan:
    """What the planner answered for one goal."""

    tasks: tuple[PlannedTask, ...] = ()
    questions: tuple[str, ...] = ()


def read_plan(value: object) -> Plan:
    """The planner's structured output, or BadShape naming the place."""
    found = mapping(value, "", ("tasks", "questions"))
    return Plan(
        rows(found["tasks"], "tasks", TASK_LIMIT, _read_task),
        rows(found["questions"], "questions", ROW_LIMIT, _read_question),
    )


def in_order(plan: Plan) -> tuple[PlannedTask, ...]:
    """The plan's tasks with every need before its dependants, else in their own order."""
    ordered, stuck = _peel(plan.tasks)
    if stuck:
        circle = ", ".join(cycle_in(plan.tasks))
        raise BadShape(f"These tasks need each other in a circle: {circle}.")
    return tuple(ordered)


def cycle_in(tasks: Sequence[PlannedTask]) -> tuple[str, ...]:
    """The keys along one circle of needs; empty when there is none."""
    stuck = {task.key: task for task in _peel(tasks)[1]}
    trail: list[str] = []
    step = next(iter(stuck), None)
    while step is not None:
        if step in trail:
            return tuple(trail[trail.index(step) :])
        trail.append(step)
        step = next(need for need in stuck[step].needs if need in stuck)
    return ()


def _peel(tasks: Sequence[PlannedTask]) -> tuple[list[PlannedTask], list[PlannedTask]]:
    """The tasks that can be ordered, and those that wait for each other for ever."""
    left, ordered = list(tasks), list[PlannedTask]()
    while True:
        waiting = {task.key for task in left}
        ready = [task for task in left if waiting.isdisjoint(task.needs)]
        if not ready:
            return ordered, left
        ordered += ready
        left = [task for task in left if not waiting.isdisjoint(task.needs)]


def _read_task(value: object, path: str) -> PlannedTask:
    required = ("key", "title", "spec", "acceptance", "scope", "size_minutes")
    choices = ("difficulty", "risk")
    found = mapping(value, path, (*required, *choices), ("may_change", "needs"))
    return PlannedTask(
        key=_read_key(found["key"], f"{path}.key"),
        title=one_line(found["title"], f"{path}.title", TITLE_LIMIT_CHARS),
        spec=text(found["spec"], f"{path}.spec", SPEC_LIMIT_CHARS),
        acceptance=_read_acceptance(found["acceptance"], f"{path}.acceptance"),
        scope=rows(found["scope"], f"{path}.scope", ROW_LIMIT, _read_scope),
        may_change=rows(found.get("may_change", []), f"{path}.may_change", ROW_LIMIT, _read_scope),
        needs=rows(found.get("needs", []), f"{path}.needs", ROW_LIMIT, _read_key),
        size_minutes=whole(found["size_minutes"], f"{path}.size_minutes", 0, 100_000),
        difficulty=choice(found["difficulty"], f"{path}.difficulty", Difficulty),
        risk=choice(found["risk"], f"{path}.risk", Risk),
    )


def _read_acceptance(value: object, path: str) -> tuple[Clause, ...]:
    commands = rows(value, path, ROW_LIMIT, _read_command)
    return tuple(
        Clause(f"A{number}", run, why) for number, (run, why) in enumerate(commands, start=1)
    )


def _read_command(value: object, path: str) -> tuple[str, str]:
    found = mapping(value, path, ("run",), ("why",))
    run = text(found["run"], f"{path}.run", COMMAND_LIMIT_CHARS)
    return run, text(found.get("why", ""), f"{path}.why", WHY_LIMIT_CHARS, empty=True)


def _read_key(value: object, path: str) -> str:
    key = text(value, path, 40)
    if not _KEY.fullmatch(key):
        raise BadShape(f"{path} may hold letters, digits, dot, dash and underscore only.")
    return key


def _read_scope(value: object, path: str) -> str:
    return text(value, path, SCOPE_LIMIT_CHARS)


def _read_question(value: object, path: str) -> str:
    return text(value, path, QUESTION_LIMIT_CHARS)
