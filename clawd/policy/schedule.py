"""Which ready task an idle agent should take next, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

Overlap = Callable[[Sequence[str], Sequence[str]], bool]


@dataclass(frozen=True, slots=True)
class Ready:
    """A task that could start now."""

    task: int
    project: int
    scope: tuple[str, ...]
    prefer_agent: int | None = None
    prefer_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Live:
    """A task whose work is under way or has not landed yet."""

    task: int
    project: int
    scope: tuple[str, ...]
    working: bool


@dataclass(frozen=True, slots=True)
class Share:
    """How much of the fleet a project may have."""

    weight: int = 1
    cap: int = 1_000_000
    overlap: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """Tasks in the order to try them, and what held the others back."""

    tasks: tuple[int, ...]
    held: Mapping[int, str]


# Truth table, first match wins:
#   project at its cap                    -> held "project at its cap of n"
#   kept for another agent, not lapsed    -> held "kept for agent a until t"
#   overlap is not allowed, and its scope
#     meets a task that is under way      -> held "shares files with task n"
#   else                                  -> offered; fairest project first, then queue order


def choose(
    ready: Sequence[Ready],
    live: Sequence[Live],
    shares: Mapping[int, Share],
    agent: int,
    now: datetime,
    overlap: Overlap,
) -> Choice:
    """The order in which `agent` should try the ready tasks; `ready` comes in queue order."""
    held: dict[int, str] = {}
    offered: list[tuple[float, int, int]] = []
    working = {project: _working(live, project) for project in {r.project for r in ready}}
    for place, item in enumerate(ready):
        share = shares.get(item.project, Share())
        reason = _reason_to_hold(item, live, share, working[item.project], agent, now, overlap)
        if reason:
            held[item.task] = reason
        else:
            offered.append((working[item.project] / share.weight, place, item.task))
    return Choice(tuple(task for _, _, task in sorted(offered)), held)


def _working(live: Sequence[Live], project: int) -> int:
    return sum(1 for item in live if item.working and item.project == project)


def _reason_to_hold(
    item: Ready,
    live: Sequence[Live],
    share: Share,
    working: int,
    agent: int,
    now: datetime,
    overlap: Overlap,
) -> str:
    if working >= share.cap:
        return f"project at its cap of {share.cap}"
    if _kept_for_another(item, agent, now):
        return f"kept for agent {item.prefer_agent} until {item.prefer_until:%H:%M}"
    for other in () if share.overlap else live:
        same = other.project == item.project and other.task != item.task
        if same and overlap(item.scope, other.scope):
            return f"shares files with task {other.task}"
    return ""


def _kept_for_another(item: Ready, agent: int, now: datetime) -> bool:
    return (
        item.prefer_agent not in (None, agent)
        and item.prefer_until is not None
        and now < item.prefer_until
    )
