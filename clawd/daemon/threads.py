"""The loops of one home as threads: woken by hints, restarted a few times, stopped in order."""

from __future__ import annotations

import contextlib
import logging
import socket
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import psycopg

from clawd import loops
from clawd.adapters import notify, postgres
from clawd.daemon.opening import database
from clawd.daemon.outage import Outage, is_outage
from clawd.pipeline import recover
from clawd.pipeline.desk import Desk
from clawd.running import launch
from clawd.store import outbox

RESTARTS = 5
RESTART_WINDOW_S = 120.0
# A signal can arrive in the moment before the main thread falls asleep; it is seen when it wakes.
_SIGNAL_SEEN_S = 0.5


def last_words(home: Path) -> Path:
    """What a daemon that gave up said; gone once another has started."""
    return home / "gave-up.txt"


@dataclass(slots=True)
class Loop:
    """A thread that ticks when it is woken or its time has come; restarts are bounded."""

    name: str
    tick: Callable[[], float]
    desk: Desk
    gave_up: threading.Event
    outage: Outage
    wake: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None
    _failures: deque[float] = field(default_factory=lambda: deque(maxlen=RESTARTS))
    _waits: int = 0

    def start(self) -> None:
        """Starts the thread; daemonic, since the ordered stop joins it with a deadline."""
        self.thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while not self.desk.stop.is_set():
            self.wake.clear()
            try:
                pause_s = self.tick()
                if self._waits:
                    self.outage.over()
                    self._waits = 0
            except Exception as error:
                pause_s = self._after(error)
            if pause_s > 0:
                self.wake.wait(pause_s)

    def _after(self, error: Exception) -> float:
        if is_outage(error):
            self._waits += 1
            return self.outage.met(error, self._waits)
        self.desk.failed(self.name, error)
        now = monotonic()
        self._failures.append(now)
        if len(self._failures) == RESTARTS and now - self._failures[0] < RESTART_WINDOW_S:
            self._give_up(error)
        return 1.0

    def _give_up(self, error: Exception) -> None:
        """The last words go where a person looks: the log, a file for `status`, the messages."""
        said = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        text = (
            f"clawd stopped itself: its part {self.name} failed {RESTARTS} times, the last: {said}"
        )
        self.desk.log("gave_up", level=logging.ERROR, loop=self.name, why=said)
        with contextlib.suppress(OSError):
            last_words(self.desk.home).write_text(f"{text}\n", "utf-8")
        with contextlib.suppress(psycopg.Error), self.desk.db() as db:
            outbox.put(db, "needs_you", {"text": text}, None)
        self.gave_up.set()
        self.desk.stop.set()


class Daemon:
    """The loops of one home, held together."""

    def __init__(self, desk: Desk, conninfo: str) -> None:
        self.desk = desk
        self.gave_up = threading.Event()
        self.end_runs = threading.Event()
        self._work = loops.Work(desk)
        self._plan = loops.Plan(desk, self.wake_all)
        self._check = loops.Check(desk, self.wake_all)
        self._merge = loops.Merge(desk, self.wake_all)
        self._beat = loops.Beat(desk)
        ticks: dict[str, Callable[[], float]] = {
            "beat": self._beat.tick,
            "work": self._work.tick,
            "plan": self._plan.tick,
            "check": self._check.tick,
            "merge": self._merge.tick,
            "watch": loops.Watch(desk).tick,
            "care": loops.Care(desk, conninfo).tick,
        }
        self._outage = Outage(desk, lambda: database(desk.home))
        self.loops = [
            Loop(name, tick, desk, self.gave_up, self._outage) for name, tick in ticks.items()
        ]
        self._conninfo = conninfo
        self._ears: list[threading.Thread] = []

    def run(self) -> int:
        """Until a signal or a loop that keeps failing; then the ordered stop."""
        recover.end_left_commands(self.desk)
        with _wake_socket(self.desk) as datagrams:
            self._listen("listen", self._hear_database)
            self._listen("hints", lambda: self._hear_keepers(datagrams))
            for loop in self.loops:
                loop.start()
            self.desk.log("started", loops=len(self.loops))
            last_words(self.desk.home).unlink(missing_ok=True)
            notify.tell(notify.READY, f"STATUS=works in {self.desk.home}")
            while not self.desk.stop.wait(_SIGNAL_SEEN_S):
                pass
            notify.tell(notify.STOPPING)
            self._stop(datagrams)
        return 1 if self.gave_up.is_set() else 0

    def wake_all(self) -> None:
        """A hint that something changed; every loop looks for itself."""
        for loop in self.loops:
            loop.wake.set()

    def _listen(self, name: str, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=name, daemon=True)
        self._ears.append(thread)
        thread.start()

    def _hear_database(self) -> None:
        listener = postgres.Listener(
            self._conninfo,
            on_frozen=lambda: postgres.cut(self.desk.pool),
            on_deaf=self._tell_deaf,
            on_lost=self._outage.heard_it_die,
        )
        while not self.desk.stop.is_set():
            if listener.wait(30.0, self.desk.stop):
                with contextlib.suppress(psycopg.Error):
                    self._outage.over()
                self.wake_all()
        listener.close()

    def _tell_deaf(self) -> None:
        """Shown once: it works, a little later than it could."""
        text = (
            "The database's notifications do not come through (a pooler in transaction mode?): "
            "clawd looks by itself every few seconds instead."
        )
        with contextlib.suppress(psycopg.Error), self.desk.db() as db:
            outbox.put(db, "notice", {"text": text}, "poll_only")

    def _hear_keepers(self, datagrams: socket.socket) -> None:
        while not self.desk.stop.is_set():
            with contextlib.suppress(TimeoutError, OSError):
                if datagrams.recv(64):
                    self.wake_all()

    def _stop(self, datagrams: socket.socket) -> None:
        """Loops first, then the workers; runs go on unless they were to end with us."""
        self.wake_all()
        if self.end_runs.is_set():
            _end_runs(self.desk)
        for loop in self.loops:
            if loop.thread is not None:
                loop.thread.join(20)
        self._work.close()
        if self.end_runs.is_set():
            self._work.settle_ended()
        self._check.close()
        self._merge.close()
        self._plan.close()
        self._beat.close()
        with contextlib.suppress(OSError):
            datagrams.close()
        for ear in self._ears:
            ear.join(5)
        self.desk.log("stopped")


def _end_runs(desk: Desk) -> None:
    """Asks every keeper of this home, by its folder: that works with the database away, too."""
    folders = [path for path in (desk.home / "runs").glob("*") if path.is_dir()]
    living = [path for path in folders if isinstance(launch.look(path), launch.Alive)]
    for folder in living:
        launch.stop(folder, "restarted: clawd goes down")
    patience = threading.Event()
    for folder in living:
        launch.wait(folder, 10, patience)


@contextmanager
def _wake_socket(desk: Desk) -> Iterator[socket.socket]:
    """Where keepers send their hints; a short path, since those of sockets are bounded."""
    folder = Path(tempfile.mkdtemp(prefix="clawd-w"))
    path = folder / "s"
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(str(path))
    receiver.settimeout(1.0)
    desk.wake_socket = path
    try:
        yield receiver
    finally:
        receiver.close()
        path.unlink(missing_ok=True)
        folder.rmdir()
