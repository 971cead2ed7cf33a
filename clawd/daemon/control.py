"""Starts the daemon, here or in the background; finds it; stops it."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from clawd.daemon.opening import Say, database, open_desk, silent
from clawd.daemon.threads import Daemon
from clawd.errors import ClawdError, NotRunning, Refused
from clawd.logs import open_log


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


def main(home: Path, *, foreground: bool, say: Say = silent) -> int:
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


def start_in_background(home: Path, say: Say = silent) -> int:
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
