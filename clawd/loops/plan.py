"""Reads roadmaps when they change and has goals specified and planned."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic

from clawd.adapters.watch import RoadmapWatch
from clawd.loops.apart import Apart
from clawd.model import Project
from clawd.pipeline import (
    plan,
    roadmap,
)
from clawd.pipeline.desk import Desk
from clawd.store import goals, projects


class Plan:
    """Reads the roadmap when it changes, and sees that goals get specified and planned."""

    def __init__(self, desk: Desk, wake: Callable[[], None]) -> None:
        self._desk, self._wake = desk, wake
        self._watches: dict[int, RoadmapWatch] = {}
        self._look_at: dict[int, float] = {}
        self._pass_at: dict[int, float] = {}
        self._apart = Apart(desk, "plan")

    def tick(self) -> float:
        """Looks at files that may have changed; calls a model only for items that did."""
        desk = self._desk
        with desk.db() as db:
            cared_for = projects.active(db)
        for project in cared_for:
            self._apart.turn(project, partial(self._look, project))
        self._plan_goals({project.id: project for project in cared_for})
        return min(self._apart.wait_s(), desk.config.roadmap.poll_s)

    def _look(self, project: Project) -> None:
        self._watch(project)
        if monotonic() >= self._look_at.get(project.id, 0.0):
            self._look_at[project.id] = monotonic() + self._desk.config.roadmap.poll_s
            roadmap.read(self._desk, project, again=self._pass_is_due(project))
        plan.start_pm(self._desk, project)

    def _pass_is_due(self, project: Project) -> bool:
        """A full pass now and then, even when the file's hash says that nothing changed."""
        due = monotonic() >= self._pass_at.get(project.id, 0.0)
        if due:
            self._pass_at[project.id] = monotonic() + 60 * self._desk.config.roadmap.pass_minutes
        return due

    def _plan_goals(self, by_id: dict[int, Project]) -> None:
        with self._desk.db() as db:
            waiting = goals.plannable(db)
        for goal in waiting:
            project = by_id.get(goal.project)
            if project is None or self._apart.rests(project):
                continue
            step = partial(plan.start_planner, self._desk, project, goal)
            if self._apart.turn(project, step) is False:
                return  # nobody is idle, for no other goal either

    def _watch(self, project: Project) -> None:
        if project.id in self._watches:
            return
        path = Path(project.path) / roadmap.ROADMAP

        def changed() -> None:
            self._look_at[project.id] = 0.0
            self._wake()

        self._watches[project.id] = RoadmapWatch(
            [path], changed, debounce_s=self._desk.config.roadmap.debounce_s
        )

    def close(self) -> None:
        """Ends the watches."""
        for watch in self._watches.values():
            watch.stop()
