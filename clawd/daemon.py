"""The composition root: opens the home, starts the loops, ends them in order."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from clawd import config as configuration
from clawd import loops
from clawd.adapters import notify, postgres, server
from clawd.adapters.git.operator import inspect
from clawd.config import Config
from clawd.errors import ClawdError, NotRunning, Refused
from clawd.logs import open_log
from clawd.model import Role
from clawd.pipeline.desk import Desk
from clawd.running import launch
from clawd.store import agents, projects, runs, schema
from clawd.store.rows import Db

RESTARTS = 5
RESTART_WINDOW_S = 120.0
POOL_SIZE = 12
Say = Callable[[str], None]


def _silent(_line: str) -> None:
    return


@contextmanager
def open_desk(home: Path, *, say: Say = _silent) -> Iterator[Desk]:
    """A desk with the database up, migrated, and the configuration's agents and projects in it."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    config = configuration.load(home)
    conninfo = database(home, say)
    with postgres.connect(conninfo, application_name="clawd migrate") as db:
        schema.migrate(db)
        bring_in(db, config)
    pool = postgres.open_pool(conninfo, size=POOL_SIZE)
    try:
        yield Desk(home=home, config=config, host=host_name(), pool=pool)
    finally:
        pool.close()


def database(home: Path, say: Say = _silent) -> str:
    """The operator's own Postgres when named, else the embedded one, started."""
    given = configuration.database_url(os.environ)
    if given:
        return given
    return server.ensure_running(home, say=say).conninfo


def host_name() -> str:
    """This machine's name in rows: short, and the same after a restart."""
    return socket.gethostname().split(".")[0] or "host"


def bring_in(db: Db, config: Config) -> None:
    """Agents and projects as the configuration names them; what it drops rests."""
    with db.transaction():
        for role in Role:
            model = config.agents.of(role).model
            for name in config.agents.names_of(role):
                agents.ensure(db, name, role.value, model)
        agents.retire_others(db, [n for role in Role for n in config.agents.names_of(role)])
        for slug in config.projects:
            bring_in_project(db, config, slug)


def bring_in_project(db: Db, config: Config, slug: str) -> None:
    """One project's row from its settings."""
    chosen = config.project(slug)
    path = Path(chosen.path).expanduser()
    branch = chosen.branch or inspect(path).require_branch()[0]
    projects.save(
        db,
        slug=slug,
        path=str(path),
        main_ref=f"refs/heads/{branch}",
        home_host=host_name(),
        weight=chosen.weight,
        landing=config.landing_of(slug).value,
        test_cmd=chosen.test,
        setup_cmd=chosen.setup,
        settings={
            "setup_key": list(chosen.setup_key),
            "setup_paths": list(chosen.setup_paths),
            "known_red": list(chosen.known_red),
            "max_agents": chosen.max_agents,
            "test_timeout_s": chosen.test_timeout_s,
            "network_for_tests": chosen.network_for_tests,
        },
    )


@dataclass(slots=True)
class Loop:
    """A thread that ticks when it is woken or its time has come; restarts are bounded."""

    name: str
    tick: Callable[[], float]
    desk: Desk
    gave_up: threading.Event
    wake: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None
    _failures: deque[float] = field(default_factory=lambda: deque(maxlen=RESTARTS))

    def start(self) -> None:
        """Starts the thread; daemonic, since the ordered stop joins it with a deadline."""
        self.thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while not self.desk.stop.is_set():
            self.wake.clear()
            try:
                pause_s = self.tick()
            except Exception as error:
                pause_s = self._after(error)
            if pause_s > 0:
                self.wake.wait(pause_s)

    def _after(self, error: Exception) -> float:
        self.desk.failed(self.name, error)
        if postgres.is_transient(error):
            return 2.0
        now = monotonic()
        self._failures.append(now)
        if len(self._failures) == RESTARTS and now - self._failures[0] < RESTART_WINDOW_S:
            self.gave_up.set()
            self.desk.stop.set()
        return 1.0


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
        self.loops = [Loop(name, tick, desk, self.gave_up) for name, tick in ticks.items()]
        self._conninfo = conninfo
        self._ears: list[threading.Thread] = []

    def run(self) -> int:
        """Until a signal or a loop that keeps failing; then the ordered stop."""
        with _wake_socket(self.desk) as datagrams:
            self._listen("listen", self._hear_database)
            self._listen("hints", lambda: self._hear_keepers(datagrams))
            for loop in self.loops:
                loop.start()
            self.desk.log("started", loops=len(self.loops))
            notify.tell(notify.READY, f"STATUS=works in {self.desk.home}")
            while not self.desk.stop.wait(3600):
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
        listener = postgres.Listener(self._conninfo)
        while not self.desk.stop.is_set():
            if listener.wait(30.0, self.desk.stop):
                self.wake_all()
        listener.close()

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
    with desk.db() as db:
        mine = runs.live(db, desk.host)
    for run in mine:
        launch.stop(desk.run_folder(run.id), "restarted: clawd goes down")
    patience = threading.Event()
    for run in mine:
        launch.wait(desk.run_folder(run.id), 10, patience)


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


def _locked(lock: int) -> bool:
    """Tried for a moment: whoever only looks whether a daemon is there holds the lock meanwhile."""
    patience = threading.Event()
    for _ in range(20):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            patience.wait(0.02)
        else:
            return True
    return False


@contextmanager
def _only_one(home: Path) -> Iterator[None]:
    """One daemon for a home: the lock dies with its holder, the pid in it is for people."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (home / "daemon.lock").open("a+") as lock:
        if not _locked(lock.fileno()):
            lock.seek(0)
            raise Refused(
                f"Another clawd (process {lock.read().strip() or 'unknown'}) works in {home}.",
                "Use that one, stop it with `clawd down`, or set CLAWD_HOME to another home.",
            )
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
        lock.truncate(0)


def main(home: Path, *, foreground: bool, say: Say = _silent) -> int:
    """Runs the daemon here, or in the background with a process of its own."""
    if not foreground:
        return start_in_background(home, say)
    with _only_one(home), open_desk(home, say=say) as desk:
        open_log(home / "logs")
        daemon = Daemon(desk, database(home))

        def on_signal(number: int, _frame: object) -> None:
            if number == signal.SIGINT or (home / "down").exists():
                daemon.end_runs.set()
            desk.stop.set()

        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, on_signal)
        return daemon.run()


def is_running(home: Path) -> int | None:
    """The daemon's process id, judged by its lock."""
    path = home / "daemon.lock"
    try:
        with path.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return int(lock.read().strip() or 0) or None
    except (OSError, ValueError):
        return None
    return None


def start_in_background(home: Path, say: Say = _silent) -> int:
    """A daemon in a session of its own; returns once it holds the home or has said why not."""
    import subprocess  # noqa: PLC0415 - only this command starts processes

    running = is_running(home)
    if running:
        say(f"clawd is running already (process {running}).")
        return 0
    logs = home / "logs"
    logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (logs / "start.log").open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "clawd", "up", "--foreground", "--home", str(home)],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    patience = threading.Event()
    deadline = monotonic() + 90
    while monotonic() < deadline:
        if is_running(home) and (home / "daemon.beat").exists():
            child.returncode = 0  # it outlives us: nobody here waits for it
            say(f"clawd is up (process {child.pid}).")
            return 0
        if child.poll() is not None:
            said = (logs / "start.log").read_text("utf-8", "replace").strip()
            raise ClawdError("clawd did not start.", said[-1000:] or f"See {logs}/clawd.log.")
        patience.wait(0.05)
    raise ClawdError("clawd did not start in 90 seconds.", f"See {logs}/clawd.log.")


def stop(home: Path, timeout_s: float = 60, *, end_runs: bool = True) -> bool:
    """Asks the daemon to stop and waits until it is gone; False when there was none."""
    pid = is_running(home)
    if pid is None:
        return False
    if end_runs:
        (home / "down").touch()
    try:
        os.kill(pid, signal.SIGTERM)
        patience = threading.Event()
        deadline = monotonic() + timeout_s
        while is_running(home):
            if monotonic() > deadline:
                raise NotRunning(f"clawd (process {pid}) does not stop.", f"kill -9 {pid}")
            patience.wait(0.05)
    finally:
        (home / "down").unlink(missing_ok=True)
    return True
