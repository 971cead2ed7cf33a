"""Why a plan is not accepted; the reasons go back to the planner word for word."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from clawd.policy.plan.tasks import COMMAND_LIMIT_CHARS, Plan, PlannedTask, cycle_in
from clawd.policy.scope import reason_outside

SAME_SPEC = 0.85

_COMPARED_CHARS = 2_000
_PROVES_NOTHING = re.compile(r"(true|:|exit 0|echo\b[^|;&>$`]*)")


@dataclass(frozen=True, slots=True)
class PlanBounds:
    """How much a plan may hold; the longest task is what the best present tier can do."""

    tasks_most: int = 12
    minutes_least: int = 10
    minutes_most: int = 30
    clauses_most: int = 10


@dataclass(frozen=True, slots=True)
class OpenTask:
    """A task that exists and is not finished."""

    task: int
    title: str
    scope: tuple[str, ...]
    spec: str = ""


def lint(
    plan: Plan,
    *,
    open_tasks: Sequence[OpenTask] = (),
    bounds: PlanBounds = PlanBounds(),
    known_paths: Collection[str] = (),
) -> tuple[str, ...]:
    """Every reason to refuse the plan; none means it can be used.

    A plan of questions alone is fine: the goal then waits for the operator. `known_paths` are
    the files of main; a scope cannot lie below one of them.
    """
    files = frozenset(known_paths)
    reasons = list(_whole_plan(plan, bounds))
    for task in plan.tasks:
        reasons += _acceptance(task, bounds)
        reasons += _size(task, bounds)
        reasons += _paths(task, files)
        reasons += _repeats(task, plan, open_tasks)
    return tuple(reasons)


def _whole_plan(plan: Plan, bounds: PlanBounds) -> Iterator[str]:
    tasks, keys = plan.tasks, Counter(task.key for task in plan.tasks)
    if not tasks and not plan.questions:
        yield "The plan is empty: it has neither tasks nor questions."
    if tasks and plan.questions:
        yield "The plan has tasks and open questions: ask first, or decide and drop the questions."
    if len(tasks) > bounds.tasks_most:
        yield f"The plan has {len(tasks)} tasks; at most {bounds.tasks_most} are accepted."
    for key in sorted(key for key, count in keys.items() if count > 1):
        yield f"The key {key} is used by {keys[key]} tasks."
    for task in tasks:
        for need in task.needs:
            if need not in keys:
                yield f"Task {task.key} needs {need}, which is not in the plan."
    circle = cycle_in(tasks)
    if circle:
        yield f"These tasks need each other in a circle: {' -> '.join((*circle, circle[0]))}."


def _acceptance(task: PlannedTask, bounds: PlanBounds) -> Iterator[str]:
    if not task.acceptance:
        yield f"Task {task.key} has no acceptance command."
    if len(task.acceptance) > bounds.clauses_most:
        yield f"Task {task.key} has more than {bounds.clauses_most} acceptance commands."
    for clause in task.acceptance:
        flaw = _command_flaw(clause.run)
        if flaw:
            yield f"Task {task.key}, acceptance {clause.id}: the command {flaw}."


def _command_flaw(command: str) -> str:
    if not command.strip():
        return "is empty"
    if len(command) > COMMAND_LIMIT_CHARS:
        return f"is longer than {COMMAND_LIMIT_CHARS} characters"
    if re.search(r"[\r\n\0]", command):
        return "is not one line"
    if _PROVES_NOTHING.fullmatch(command.strip()):
        return "cannot fail, so it proves nothing"
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return "has a quote that is never closed"
    return ""


def _size(task: PlannedTask, bounds: PlanBounds) -> Iterator[str]:
    if not bounds.minutes_least <= task.size_minutes <= bounds.minutes_most:
        yield (
            f"Task {task.key} is planned for {task.size_minutes} minutes; "
            f"a task takes {bounds.minutes_least} to {bounds.minutes_most}."
        )


def _paths(task: PlannedTask, files: frozenset[str]) -> Iterator[str]:
    if not task.scope:
        yield f"Task {task.key} has no scope."
    for name, paths in (("scope", task.scope), ("may_change", task.may_change)):
        for path in paths:
            flaw = reason_outside(path)
            if flaw:
                yield f"Task {task.key}: the {name} {path!r} {flaw}."
            elif any(parent in files for parent in _parents(path)):
                yield f"Task {task.key}: the {name} {path!r} lies below a file."


def _parents(path: str) -> Iterator[str]:
    parts = path.removeprefix("./").split("/")
    return ("/".join(parts[:count]) for count in range(1, len(parts)))


def _repeats(task: PlannedTask, plan: Plan, open_tasks: Sequence[OpenTask]) -> Iterator[str]:
    title = _words(task.title)
    earlier = plan.tasks[: plan.tasks.index(task)]
    for other in earlier:
        if _words(other.title) == title:
            yield f"Tasks {other.key} and {task.key} have the same title."
    for known in open_tasks:
        if _words(known.title) == title or _same_work(task, known):
            yield f"Task {task.key} repeats the open task {known.task} ({known.title!r})."


def _words(title: str) -> str:
    return " ".join(re.findall(r"\w+", title.casefold()))


def _same_work(task: PlannedTask, known: OpenTask) -> bool:
    if not known.spec or set(task.scope) != set(known.scope):
        return False
    matcher = SequenceMatcher(
        None, known.spec[:_COMPARED_CHARS], task.spec[:_COMPARED_CHARS], autojunk=False
    )
    return matcher.quick_ratio() >= SAME_SPEC and matcher.ratio() >= SAME_SPEC
