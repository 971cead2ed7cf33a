"""Runs the acceptance of new candidates beside each other."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from clawd.loops.apart import Apart
from clawd.model import Project, Task
from clawd.pipeline import (
    check,
)
from clawd.pipeline.desk import Desk
from clawd.store import projects

FAILED_WAIT_S = 2.0


class Check:
    """Runs the acceptance of new candidates, as many at once as there are spare cores."""

    def __init__(self, desk: Desk, wake: Callable[[], None]) -> None:
        self._desk, self._wake = desk, wake
        slots = max(1, (os.cpu_count() or 2) // 2)
        self._pool = ThreadPoolExecutor(slots, thread_name_prefix="check")
        self._busy: set[int] = set()
        self._apart = Apart(desk, "check")

    def tick(self) -> float:
        """Hands every unchecked candidate to a worker, once."""
        with self._desk.db() as db:
            by_id = {p.id: p for p in projects.active(db)}
        for task in check.due(self._desk):
            project = by_id.get(task.project)
            if project is None or task.id in self._busy or self._apart.rests(project):
                continue
            self._busy.add(task.id)
            future = self._pool.submit(self._check, project, task)
            future.add_done_callback(lambda done: self._wake())
        return self._apart.wait_s()

    def _check(self, project: Project, task: Task) -> None:
        try:
            self._apart.turn(project, partial(check.check, self._desk, project, task))
        except Exception as error:
            self._desk.failed("check", error)
            self._desk.stop.wait(FAILED_WAIT_S)  # it is due again at once: not in a circle
        finally:
            self._busy.discard(task.id)

    def close(self) -> None:
        """Waits for the checks under way; the stop event ends them."""
        self._pool.shutdown(wait=True, cancel_futures=True)
