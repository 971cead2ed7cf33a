"""Owns one run: starts its command, enforces its limits and leaves an atomic result file.

A process of its own, standard library only, started as `python -I -S keeper.py RUNDIR`. It outlives
the daemon: while it lives it holds a lock on RUNDIR/lock, and when it dies its cage dies with it.
The command writes its output straight into RUNDIR/stream.jsonl, so nothing is copied or lost.
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import json
import os
import select
import signal
import sys
from time import monotonic, time

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs the keeper 3 ms
    from typing import Any

if __name__ == "__main__":  # isolated and without site: say where the three parts below are
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from clawd.running.command import Command  # noqa: E402
from clawd.running.meter import Meter  # noqa: E402
from clawd.running.remains import adopt_orphans, read_text, start_time, sweep  # noqa: E402

POLL_S = 0.5
FIRST_LINE_POLL_S = 0.05
FIRST_LINE_WITHIN_S = 10.0  # a command that says nothing for so long is not watched so closely
CAGE_START_S = 20.0
RESULT_ROOM_BYTES = 4096  # reserved at the start, so that a full disk cannot eat the result


class Keeper:
    """One run from its start to its result file."""

    def __init__(self, folder: str, spec: dict[str, Any]) -> None:
        self.folder, self.spec, self.limits = folder, spec, spec["limits"]
        self.started_at, self.began = time(), monotonic()
        self.meter = Meter(spec.get("prices") or {})
        self.metered = bool(self.limits.get("turns") or self.meter.prices)
        self.why, self.reason, self.kill_at = "", "", 0.0
        self.size, self.grown_at = 0, self.began
        self.beat, self.beat_at = 0, self.began
        self.wakeup = signal_pipe()
        reserve(self.path("result.tmp"))
        if not spec.get("cage_status"):
            adopt_orphans()
        self.command = Command(folder, spec)
        self.stream = os.open(self.path("stream.jsonl"), os.O_RDONLY)
        self.poll = select.poll()
        for fd in (self.wakeup, self.command.open_fds["ready"], self.command.open_fds["status"]):
            self.poll.register(fd, select.POLLIN)
        self.write_identity()
        if self.command.started:
            self.wake()

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def write_identity(self) -> None:
        child = self.command.pid
        text = json.dumps({
            "pid": os.getpid(), "start_time": start_time(os.getpid()),
            "marker": self.spec["marker"], "child": child, "child_start": start_time(child),
        })  # fmt: skip
        with open(self.path("keeper.json.tmp"), "w") as file:
            file.write(text)
        os.rename(self.path("keeper.json.tmp"), self.path("keeper.json"))

    def keep(self) -> None:
        while self.command.code is None:
            self.listen()
            self.command.reap()
            now = monotonic()
            if self.command.code is not None:
                break
            if not self.why:
                self.look(now)
            elif now >= self.kill_at or self.frozen():
                self.command.kill()
        self.finish()

    def listen(self) -> None:
        early = self.size == 0 and monotonic() - self.began < FIRST_LINE_WITHIN_S
        wait_s = FIRST_LINE_POLL_S if early else POLL_S
        if self.why:
            wait_s = min(wait_s, max(self.kill_at - monotonic(), 0.02))
        for fd, _ in self.poll.poll(wait_s * 1000):
            if fd == self.wakeup:
                if signal.SIGTERM in os.read(fd, 512):
                    self.end("stopped", "stopped by a signal")
                continue
            self.command.hear(fd)
            if fd not in self.command.open_fds.values():
                self.poll.unregister(fd)
            if self.command.ready and not self.why:
                self.open_gate()

    def open_gate(self) -> None:
        self.look(monotonic())
        if not self.why:
            self.command.go()
            self.wake()

    def look(self, now: float) -> None:
        """Every reason to end the run, the most urgent one first."""
        self.measure(now)
        limits, meter, idle_s = self.limits, self.meter, now - self.grown_at
        over = not meter.result_at or now - meter.result_at > 10  # let a finished run leave
        turns, money = limits.get("turns"), limits.get("money_micros")
        if self.frozen():
            self.end("frozen", "the freeze file is there", at_once=True)
        elif os.path.exists(self.path("stop")):
            self.end("stopped", "")
        elif not self.command.started and now - self.began > CAGE_START_S:
            self.end("cage", "the cage did not get ready", at_once=True)
        elif self.flooded():
            self.end("flood", "the run wrote more output than allowed", at_once=True)
        elif limits.get("wall_s") and now - self.began > limits["wall_s"]:
            self.end("wall", f"longer than {limits['wall_s']} s")
        elif limits.get("idle_s") and idle_s > limits["idle_s"]:
            self.end("idle", f"no output for {limits['idle_s']} s")
        elif turns and meter.turns > turns and over:
            self.end("turns", f"more than {turns} turns")
        elif money and meter.cost_micros > money and over:
            self.end("money", f"{meter.cost_micros} of {money} micro-dollars spent")
        elif self.daemon_gone(now):
            self.end("no_daemon", "no daemon for too long")

    def measure(self, now: float) -> None:
        size = os.fstat(self.stream).st_size
        if size != self.size:
            if self.size == 0:
                self.wake()
            self.size, self.grown_at = size, now
        if self.metered and size <= self.limits["stream_bytes"]:
            self.meter.read(self.stream, size)

    def flooded(self) -> bool:
        """Too much output, or a stream cut back by the run itself to hide what it cost."""
        errors = os.stat(self.path("stderr.txt")).st_size
        cut = self.size < self.meter.offset
        too_much = self.size > self.limits["stream_bytes"]
        return cut or too_much or errors > self.limits["stderr_bytes"]

    def frozen(self) -> bool:
        path = self.spec.get("freeze_file")
        return path is not None and os.path.exists(path)

    def daemon_gone(self, now: float) -> bool:
        """By the steady clock since the beat last changed: sleep and jumps do not count."""
        path = self.spec.get("beat_file")
        if not path:
            return False
        try:
            beat = os.stat(path).st_mtime_ns
        except OSError:
            beat = self.beat
        if beat != self.beat:
            self.beat, self.beat_at = beat, now
        return now - self.beat_at > float(self.spec.get("no_daemon_s") or 600)

    def end(self, why: str, reason: str, at_once: bool = False) -> None:
        if self.why:
            return
        self.why, self.reason = why, reason
        if why == "stopped" and os.path.exists(self.path("stop")):
            self.reason = read_text(self.path("stop"))
        asked = not at_once and self.command.terminate()
        self.kill_at = monotonic() + (float(self.spec.get("grace_s") or 5) if asked else 0)
        if not asked:
            self.command.kill()

    def finish(self) -> None:
        command, wall_ms = self.command, int((monotonic() - self.began) * 1000)
        swept = sweep(self.spec["marker"], orphans=not command.caged)
        self.measure(monotonic())
        if not self.why and command.started and self.flooded():
            self.why, self.reason = "flood", "the run wrote more output than allowed"
        elif not self.why:
            self.why = "exit" if command.started else "cage"
            self.reason = "" if command.started else command.refused or self.cage_line()
        result = {
            "rc": command.code, "why": self.why, "reason": self.reason[:500],
            "started": command.started, "started_at": self.started_at, "ended_at": time(),
            "wall_ms": wall_ms, "turns": self.meter.turns,
            "cost_micros": self.meter.cost_micros, "swept": swept, "rusage": command.usage,
        }  # fmt: skip
        for name, cap in (("stream.jsonl", "stream_bytes"), ("stderr.txt", "stderr_bytes")):
            if os.stat(self.path(name)).st_size > self.limits[cap]:
                os.truncate(self.path(name), self.limits[cap])
        write_result(self.folder, result)
        self.wake()

    def cage_line(self) -> str:
        text = read_text(self.path("stderr.txt")).strip() or read_text(self.path("stream.jsonl"))
        lines = [line for line in text.splitlines() if line.startswith("bwrap:")]
        return lines[-1] if lines else text[-300:] or "the cage ended before the command began"

    def wake(self) -> None:
        """A hint for the daemon; it polls anyway."""
        path = self.spec.get("wake_socket")
        if not path:
            return
        try:
            line = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
            line.setblocking(False)
            line.sendto(os.path.basename(self.folder).encode(), path)
            line.close()
        except OSError:
            return


def reserve(path: str) -> None:
    with open(path, "w") as file:
        file.write(" " * RESULT_ROOM_BYTES)


def write_result(folder: str, result: dict[str, Any]) -> None:
    path = os.path.join(folder, "result.tmp")
    with open(path, "r+b") as file:
        file.write(json.dumps(result).encode().ljust(RESULT_ROOM_BYTES))
        file.flush()
        os.fsync(file.fileno())
    os.rename(path, os.path.join(folder, "result.json"))
    directory = os.open(folder, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def signal_pipe() -> int:
    """A descriptor that becomes readable when the child ends or somebody asks us to stop."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    return reader


def take_lock(folder: str, inherited: int | None) -> None:
    """Hold RUNDIR/lock for as long as we live; the starter may hand its own lock down."""
    if inherited is not None:
        os.set_inheritable(inherited, False)
        return
    lock = os.open(os.path.join(folder, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
    for _ in range(20):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            select.select((), (), (), 0.05)
        else:
            return
    sys.exit(9)


def main() -> None:
    folder = os.path.abspath(sys.argv[1])
    lock, ready = (int(sys.argv[2]), int(sys.argv[3])) if len(sys.argv) > 3 else (None, None)
    if ready is not None:
        os.set_inheritable(ready, False)
    if os.fork():
        os._exit(0)
    os.setsid()
    os.umask(0o077)
    take_lock(folder, lock)
    with open(os.path.join(folder, "spec.json"), encoding="utf-8") as file:
        spec = json.load(file)
    keeper = None
    try:
        keeper = Keeper(folder, spec)
        if ready is not None:
            os.write(ready, b"1")
            os.close(ready)
        keeper.keep()
    except BaseException:
        if keeper is not None:
            keeper.command.kill()
        sweep(spec["marker"], orphans=not spec.get("cage_status"))
        raise


if __name__ == "__main__":
    main()
