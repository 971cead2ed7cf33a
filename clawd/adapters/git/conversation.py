"""Holds the pipes of one git process: everything said is bounded in size and in time."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from typing import IO

STDERR_LIMIT_BYTES = 64_000


class Conversation:
    """Feeds stdin and collects both outputs until they close, one grows too long or time is up."""

    def __init__(self, process: subprocess.Popen[bytes], stdin: bytes, limit_bytes: int) -> None:
        self.process, self.limit_bytes = process, limit_bytes
        self.left = memoryview(stdin)
        self.out, self.err = bytearray(), bytearray()

    def hold(self, deadline: float) -> str:
        """Until all is said (`closed`), too much (`long`) or too late (`late`)."""
        process = self.process
        with selectors.DefaultSelector() as selector:
            for stream, events in (
                (process.stdin, selectors.EVENT_WRITE),
                (process.stdout, selectors.EVENT_READ),
                (process.stderr, selectors.EVENT_READ),
            ):
                if stream is not None:
                    os.set_blocking(stream.fileno(), False)
                    selector.register(stream, events, stream)
            while selector.get_map():
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if time.monotonic() >= deadline:
                    return "late"
                for key, _ in ready:
                    if not self._serve(key.data):
                        selector.unregister(key.data)
                        key.data.close()
                if len(self.out) > self.limit_bytes:
                    del self.out[self.limit_bytes :]
                    return "long"
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return "late"
        return "closed"

    def _serve(self, stream: IO[bytes]) -> bool:
        """Move what can be moved; False once this stream is finished."""
        try:
            if stream is self.process.stdin:
                self.left = self.left[os.write(stream.fileno(), self.left[:65536]) :]
                return bool(self.left)
            chunk = os.read(stream.fileno(), 262_144)
        except BlockingIOError:
            return True
        except BrokenPipeError:
            return False
        if stream is self.process.stdout:
            self.out += chunk
        else:
            self.err += chunk
            del self.err[: max(0, len(self.err) - STDERR_LIMIT_BYTES)]
        return bool(chunk)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End git and everything it started; it leads a process group of its own."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        process.kill()
