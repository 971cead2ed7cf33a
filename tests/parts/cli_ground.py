"""Calls `clawd` for tests: in this process against a test database, or as a real process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clawd.cli.main import main

PATH = os.environ["PATH"]


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str


@dataclass
class Clawd:
    """`clawd` with a home and a database."""

    home: Path
    database: str | None
    capture: pytest.CaptureFixture[str]
    patch: pytest.MonkeyPatch

    def __call__(self, *args: str) -> Answer:
        """In this process: quick."""
        self.patch.setenv("CLAWD_HOME", str(self.home))
        if self.database is not None:
            self.patch.setenv("CLAWD_DATABASE_URL", self.database)
        self.capture.readouterr()
        code = main(args)
        said = self.capture.readouterr()
        return Answer(code, said.out, said.err)

    def process(
        self, *args: str | bytes, given: bytes = b"", home: Path | None = None, **environ: str
    ) -> Answer:
        """As a process of its own, the way a shell calls it."""
        done = subprocess.run(
            [sys.executable, "-m", "clawd", *args],
            input=given, capture_output=True, timeout=60, check=False,
            env=self.environ(home, **environ), cwd=Path(__file__).parents[2],
        )  # fmt: skip
        out, err = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
        return Answer(done.returncode, out, err)

    def environ(self, home: Path | None = None, **more: str) -> dict[str, str]:
        """What such a process sees."""
        found = {"PATH": PATH, "HOME": "/nonexistent", "CLAWD_HOME": str(home or self.home)}
        if self.database is not None:
            found["CLAWD_DATABASE_URL"] = self.database
        return {**found, **more}


@contextmanager
def on_terminal(clawd: Clawd, *args: str, **environ: str) -> Iterator[tuple[int, Any]]:
    """The command on a pseudo terminal of 100 columns: its end of the line, and the process."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "clawd", *args],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        env=clawd.environ(TERM="xterm-256color", **environ), cwd=Path(__file__).parents[2],
    )  # fmt: skip
    os.close(theirs)
    try:
        yield ours, process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(timeout=10)
        os.close(ours)


def read_terminal(line: int) -> str:
    """Everything the terminal was sent until the process ended."""
    pieces = []
    while True:
        try:
            piece = os.read(line, 65536)
        except OSError:
            break
        if not piece:
            break
        pieces.append(piece)
    return b"".join(pieces).decode("utf-8", "replace")
