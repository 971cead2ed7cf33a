"""One project's trouble is its own: the others go on, this one is tried again after a rest."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import TypeVar

from clawd.errors import ClawdError
from clawd.model import Project
from clawd.pipeline import report
from clawd.pipeline.desk import IDLE_S, Desk

T = TypeVar("T")
_FIRST_REST_S, _LONGEST_REST_S = 2.0, 300.0
# A race with the operator or another loop is over at the next try; what stays is told.
_TOLD_AT = 3


@dataclass(slots=True)
class _Rest:
    until: float = 0.0
    times: int = 0


class Apart:
    """Takes each project's turn; one whose repository gives trouble rests longer and longer."""

    def __init__(self, desk: Desk, where: str) -> None:
        self._desk, self._where = desk, where
        self._rests: dict[int, _Rest] = {}

    def rests(self, project: Project) -> bool:
        """Whether its turn would be none."""
        rest = self._rests.get(project.id)
        return rest is not None and monotonic() < rest.until

    def wait_s(self) -> float:
        """When the next rest is over, in seconds; as long as a loop sleeps when nobody rests."""
        left = [rest.until - monotonic() for rest in self._rests.values()]
        return min([IDLE_S, *(max(0.2, each) for each in left if each > 0)])

    def turn(self, project: Project, step: Callable[[], T]) -> T | None:
        """The step's answer; None while the project rests and when it could not be done."""
        if self.rests(project):
            return None
        try:
            done = step()
        except (ClawdError, OSError) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise  # a full disk is everybody's
            self._failed(project, error)
            return None
        self._rests.pop(project.id, None)
        return done

    def _failed(self, project: Project, error: ClawdError | OSError) -> None:
        rest = self._rests.setdefault(project.id, _Rest())
        rest.times += 1
        rest_s = min(_FIRST_REST_S * (1 << min(rest.times - 1, 10)), _LONGEST_REST_S)
        rest.until = monotonic() + rest_s
        self._desk.failed(f"{self._where} of {project.slug}", error)
        if rest.times != _TOLD_AT:
            return
        said = str(error).strip() or type(error).__name__
        text = f"{project.slug} waits, the other projects go on: {said}"
        with self._desk.db() as db:
            day = f"{self._desk.now():%Y-%m-%d}"
            report.needs_you(db, project, text, dedupe=f"apart:{project.id}:{day}:{said[:80]}")
