"""Settles ended runs and gives ready work to idle agents."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from clawd.errors import ClawdError
from clawd.pipeline import (
    claim,
    develop,
    recover,
    review,
)
from clawd.pipeline.claim import Taken
from clawd.pipeline.desk import IDLE_S, Desk

WORKERS = 4
# No task is claimed long before a worker is free to start it: what ended is settled in between,
# and a review does not wait behind a queue of beginnings.
UNDER_WAY = 2 * WORKERS


class Work:
    """Settles ended runs, then gives ready work to idle agents."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="work")
        self._busy: set[int] = set()
        self._lock = threading.Lock()

    def tick(self) -> float:
        """One round; hints call it early, the timer repairs lost hints."""
        with self._lock:
            busy = set(self._busy)
        recover.end_stale(self._desk)
        for run, result in recover.ended(self._desk, busy):
            self._submit(run.id, recover.settle, self._desk, run, result)
        review.reuse(self._desk)
        self._dispatch(claim.next_qa, review.start)
        self._dispatch(claim.next_dev, develop.start)
        with self._lock:
            left = len(self._busy)
        if left >= UNDER_WAY:
            return 0.1
        return 1.0 if left else IDLE_S

    def _dispatch(
        self,
        find: Callable[[Desk], Taken | None],
        begin: Callable[[Desk, Taken], None],
    ) -> None:
        while not self._desk.stop.is_set() and len(self._busy) < UNDER_WAY:
            taken = find(self._desk)
            if taken is None:
                return
            self._desk.log("claimed", task=taken.task.id, run=taken.run.id, agent=taken.agent.name)
            self._submit(taken.run.id, _begin, self._desk, begin, taken)

    def _submit(self, run: int, function: Callable[..., None], *arguments: object) -> None:
        with self._lock:
            self._busy.add(run)
        self._pool.submit(function, *arguments).add_done_callback(
            lambda future: self._done(run, future)
        )

    def _done(self, run: int, future: Future[None]) -> None:
        with self._lock:
            self._busy.discard(run)
        error = future.exception()
        if error is not None:
            self._desk.failed("work", error)

    def settle_ended(self) -> None:
        """What ended because we go down is settled by us, not by the next start."""
        try:
            for run, result in recover.ended(self._desk, set()):
                recover.settle(self._desk, run, result)
        except Exception as error:
            self._desk.failed("settle", error)

    def close(self) -> None:
        """Waits for what is being laid or settled; the processes themselves go on."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _begin(desk: Desk, begin: Callable[[Desk, Taken], None], taken: Taken) -> None:
    try:
        begin(desk, taken)
    except Exception as error:
        if not isinstance(error, ClawdError | OSError):
            desk.failed("start", error)
        recover.could_not_start(desk, taken.run, error)
