"""The demo's processes: a database, a daemon, and a guard that ends both if the demo dies."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from types import TracebackType

from clawd import daemon
from clawd.adapters import process, server
from clawd.demo.ground import Ground
from clawd.errors import ClawdError
from clawd.running import launch

START_LIMIT_S = 60.0
STOP_LIMIT_S = 30.0
# Its input ends when the demo does, however that happens.
_GUARD = """
import sys
sys.stdin.read()
from pathlib import Path
from clawd.demo.stage import end
end(Path(sys.argv[1]))
"""


class Stage:
    """clawd at work on the ground; leaving it stops everything in order."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.conninfo = ""
        self._guard: subprocess.Popen[bytes] | None = None
        self._daemon: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Stage:
        self._guard = self._spawn(["-c", _GUARD, str(self.ground.home)], stdin=subprocess.PIPE)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        end(self.ground.home, hurry=kind is not None)
        for child in (self._daemon, self._guard):
            if child is not None:
                _collect(child)

    def start(self, say: Callable[[str], None]) -> None:
        """The database, then `clawd up`: the very command a user types, as its own process."""
        self.conninfo = server.ensure_running(self.ground.home, say=say).conninfo
        home = self.ground.home
        logs = home / "logs"
        logs.mkdir(mode=0o700, exist_ok=True)
        up = ["-m", "clawd", "up", "--foreground", "--home", str(home)]
        with (logs / "start.log").open("wb") as output:
            self._daemon = self._spawn(up, output=output.fileno())
        deadline = monotonic() + START_LIMIT_S
        while not (daemon.is_running(home) and (home / "daemon.beat").exists()):
            self.check_daemon()
            if monotonic() > deadline:
                raise ClawdError(f"clawd did not start in {START_LIMIT_S:.0f} seconds.")
            threading.Event().wait(0.02)

    def check_daemon(self) -> None:
        """A daemon that ended by itself is said, with its own last words."""
        if self._daemon is None or self._daemon.poll() is None:
            return
        said = (self.ground.home / "logs" / "start.log").read_text("utf-8", "replace").strip()
        raise ClawdError("clawd ended in the middle of the demo.", said[-1000:])

    def last_words(self) -> str:
        """The newest error of the daemon's log, for a demo that did not get to its end."""
        lines = launch.tail(self.ground.home / "logs" / "clawd.log", 100_000).splitlines()
        for line in reversed(lines):
            with contextlib.suppress(ValueError, AttributeError):
                entry = json.loads(line)
                if entry.get("level") == "error":
                    return f"{entry.get('where', '')}: {entry.get('text', '')}"[:500]
        return ""

    def stop_daemon(self) -> None:
        """The ordered stop; the database stays for the summary."""
        daemon.stop(self.ground.home, STOP_LIMIT_S)

    @staticmethod
    def _spawn(
        words: list[str], *, stdin: int = subprocess.DEVNULL, output: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        """A Python of ours in its own session, without the operator's own clawd in its sight."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("CLAWD_")}
        return subprocess.Popen(
            [sys.executable, *words], stdin=stdin, stdout=output, stderr=output, env=own,
            start_new_session=True,
        )  # fmt: skip


def end(home: Path, *, hurry: bool = True) -> None:
    """Ends whatever of this home runs: agents, daemon, database. Safe to repeat."""
    freeze = home / "freeze"
    if hurry:
        with contextlib.suppress(OSError):
            freeze.touch()  # the keepers see it within half a second, with or without a daemon
    try:
        daemon.stop(home, STOP_LIMIT_S)
    except (ClawdError, OSError):
        pid = daemon.is_running(home)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    finally:
        _end_runs(home)
        freeze.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            server.stop(home)


def _end_runs(home: Path) -> None:
    """What a daemon that died in the middle left behind."""
    patience = threading.Event()
    for folder in sorted((home / "runs").glob("*")):
        if isinstance(launch.look(folder), launch.Alive):
            launch.stop(folder, "restarted: the demo is over")
            launch.wait(folder, 10, patience)
        state = launch.look(folder)
        if isinstance(state, launch.Lost):
            process.kill_marked(state.marker)


def _collect(child: subprocess.Popen[bytes]) -> None:
    if child.stdin is not None:
        child.stdin.close()
    try:
        child.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
