"""The demo: the real clawd on a sample project with scripted agents, and a summary it checks."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from clawd.adapters import server
from clawd.demo import ground as grounds
from clawd.demo.follow import Ending, follow
from clawd.demo.ground import Ground
from clawd.demo.screen import Screen
from clawd.demo.stage import Stage
from clawd.demo.summary import Summary, sum_up

__all__ = ["Ending", "Ground", "Screen", "Summary", "as_dict", "lay", "play", "run"]

LIMIT_S = 180.0
INTERRUPTED = 130
SCRIPTED = (
    "The agents of this demo are scripted: no model is called, no account is needed, nothing is "
    "paid. Amounts are what the same words would cost at list price."
)
lay = grounds.lay
as_dict = dataclasses.asdict


def run(*, home: Path | None, pace: float, keep: bool, screen: Screen) -> int:
    """The demo from an empty folder to the summary; the exit code says whether all of it landed."""
    with _signals_as_interrupts():
        began = monotonic()
        ground: Ground | None = None
        try:
            screen.say(SCRIPTED)
            ground = lay(home, pace)
            summary = play(ground, screen, limit_s=LIMIT_S * max(1.0, pace), began=began)
            screen.result(summary)
            return 0 if summary.ok else 1
        except KeyboardInterrupt:
            screen.say("Stopped; nothing is left running.")
            return INTERRUPTED
        finally:
            if ground is not None and not keep:
                server.discard(ground.home)
                shutil.rmtree(ground.home, ignore_errors=True)


def play(
    ground: Ground, screen: Screen, *, limit_s: float = LIMIT_S, began: float | None = None
) -> Summary:
    """Runs clawd on a laid ground until nothing moves any more, stops it, and sums up."""
    started = monotonic() if began is None else began
    screen.say(f"Everything of it is in {ground.home} (sample project: {ground.project}).")
    if not ground.caged:
        screen.say(
            f"Without a cage, which only scripted agents may be: {ground.why_uncaged} "
            "(sandbox: none)"
        )
    with Stage(ground) as stage:
        stage.start(screen.say)
        ending = follow(stage, screen, started + limit_s)
        stage.stop_daemon()
        if not ending.settled:
            screen.say(f"The end of clawd's log: {stage.last_words() or 'it is empty'}")
        return sum_up(ground, stage.conninfo, ending, lambda: monotonic() - started)


@contextmanager
def _signals_as_interrupts() -> Iterator[None]:
    """A closed terminal and a `kill` end the demo as Ctrl-C does; a second one changes nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: object) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            with contextlib.suppress(TypeError):
                signal.signal(number, handler)
