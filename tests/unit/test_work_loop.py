"""How far claims may run ahead of the workers that start them."""

from __future__ import annotations

import itertools
import threading
from types import SimpleNamespace
from typing import Any, cast

from clawd.loops.work import UNDER_WAY, Work


def test_no_task_is_claimed_long_before_a_worker_is_free_to_start_it() -> None:
    free, started = threading.Event(), threading.Semaphore(0)
    numbers = itertools.count(1)
    desk = SimpleNamespace(
        stop=threading.Event(), log=lambda *_, **__: None, failed=lambda *_: None
    )
    work = Work(cast("Any", desk))

    def find(_desk: Any) -> Any:
        number = next(numbers)
        return SimpleNamespace(
            task=SimpleNamespace(id=number),
            run=SimpleNamespace(id=number),
            agent=SimpleNamespace(name="ada"),
        )

    def begin(_desk: Any, _taken: Any) -> None:
        started.release()
        free.wait(20)

    try:
        work._dispatch(find, begin)
        assert next(numbers) == UNDER_WAY + 1
        assert started.acquire(timeout=20)
    finally:
        free.set()
        work.close()
