"""Couples candidates onto main in memory: one merge commit a car, one tip for the whole probe."""

from __future__ import annotations

from dataclasses import dataclass, field

from clawd.adapters.git import merge
from clawd.adapters.git.hub import Hub
from clawd.model import Candidate, Project, Task
from clawd.pipeline.desk import Desk
from clawd.pipeline.workspace import CLAWD
from clawd.policy.train import Clash, Probe
from clawd.store import runs

# Every pair of more cars than this is not worth looking at before they come near the front.
PAIRS_OF = 12


@dataclass(frozen=True, slots=True)
class Car:
    """One candidate in the queue."""

    task: Task
    candidate: Candidate


@dataclass(frozen=True, slots=True)
class Coupled:
    """A probe as commits: `links` has each car's own merge, `tip` is what main would be."""

    cars: tuple[Car, ...]
    main: str
    links: tuple[str, ...]
    tip: str
    tree: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """The car that does not merge, with what is before it, and where."""

    car: Car
    before: tuple[Car, ...]
    merged: merge.Merge


@dataclass(slots=True)
class Yard:
    """What is remembered of a project's candidates: which pairs of them do not merge."""

    pairs: dict[tuple[str, str], bool] = field(default_factory=dict)

    def clashes(self, hub: Hub, cars: list[Car]) -> set[Clash]:
        """Pairs of waiting cars that conflict with each other, found in memory."""
        found: set[Clash] = set()
        near = cars[:PAIRS_OF]
        for place, first in enumerate(near):
            for second in near[place + 1 :]:
                key = (first.candidate.oid, second.candidate.oid)
                if key not in self.pairs:
                    self.pairs[key] = merge.merge(hub, *key).tree is None
                if self.pairs[key]:
                    found.add((first.task.id, second.task.id))
        return found


def cars_of(desk: Desk, queue: list[Task]) -> list[Car]:
    """The queue with its candidates."""
    with desk.db() as db:
        found = [(task, runs.candidate(db, task.candidate or 0)) for task in queue]
    return [Car(task, candidate) for task, candidate in found if candidate is not None]


def couple(desk: Desk, project: Project, cars: list[Car], main: str) -> Coupled | Conflict:
    """Merges the cars onto main one after the other; nothing is checked out, no ref moves."""
    hub = desk.hub(project)
    tip, tree = main, hub.tree_of(main)
    links: list[str] = []
    for place, car in enumerate(cars):
        joined = merge.merge(hub, tip, car.candidate.oid)
        if joined.tree is None:
            return Conflict(car, tuple(cars[:place]), joined)
        tree = joined.tree
        tip = merge.commit_merge(
            hub, tree, [tip, car.candidate.oid], _message(project, car), CLAWD, desk.now(),
            {"Clawd-Task": str(car.task.id), "Clawd-Run": str(car.candidate.run)},
        )  # fmt: skip
        links.append(tip)
    if len(cars) > 1:
        tip = _close(desk, hub, project, cars, main, tree, tip)
    return Coupled(tuple(cars), main, tuple(links), tip, tree)


def _message(project: Project, car: Car) -> str:
    return f"{car.task.title}\n\nLands task {car.task.id} of {project.slug}."


def _close(
    desk: Desk, hub: Hub, project: Project, cars: list[Car], main: str, tree: str, last: str
) -> str:
    """Several cars land as one tip, so that main's first parents are exactly the tested trees."""
    titles = "\n".join(f"- task {car.task.id}: {car.task.title}" for car in cars)
    message = f"Land {len(cars)} tasks of {project.slug}\n\n{titles}"
    return merge.commit_merge(hub, tree, [main, last], message, CLAWD, desk.now())


def named(probe: Probe, cars: list[Car]) -> list[Car]:
    """The cars of a probe, in its order."""
    by_task = {car.task.id: car for car in cars}
    return [by_task[task] for task in probe]
