"""The agent's hands: every step is shown in the stream and really done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from agentlib.stream import Stream

COMMAND_TIMEOUT_S = 120
SHOWN_CHARS = 4000


class Session:
    """Reads, writes and runs things in the working directory, at the pace of a person watching."""

    def __init__(self, stream: Stream, pace: float) -> None:
        self.stream = stream
        self.pace = pace
        self.child: subprocess.Popen[str] | None = None
        signal.signal(signal.SIGTERM, self._end)

    def think(self, seconds: float) -> None:
        """Takes its time, scaled by the pace."""
        time.sleep(seconds * self.pace)

    def say(self, text: str) -> None:
        """A sentence for the reader."""
        self.think(0.3)
        self.stream.say(text)

    def read(self, path: str) -> str:
        """The file's text, or nothing when it is not there."""
        call = self.stream.call("Read", {"file_path": path})
        file = Path(path)
        text = file.read_text("utf-8", "replace") if file.is_file() else ""
        self.stream.answer(call, text[:SHOWN_CHARS] or "File does not exist.", failed=not text)
        self.think(0.2)
        return text

    def write(self, path: str, text: str) -> None:
        """Writes the file, its folders included."""
        call = self.stream.call("Write", {"file_path": path, "content": text[:SHOWN_CHARS]})
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text, "utf-8")
        self.stream.answer(call, f"File written: {path}")
        self.think(0.6)

    def edit(self, path: str, old: str, new: str) -> bool:
        """Replaces the first `old` in the file; False when it is not there."""
        file = Path(path)
        text = file.read_text("utf-8", "replace") if file.is_file() else ""
        if old not in text:
            return False
        call = self.stream.call("Edit", {"file_path": path, "old_string": old, "new_string": new})
        file.write_text(text.replace(old, new, 1), "utf-8")
        self.stream.answer(call, f"File edited: {path}")
        self.think(0.5)
        return True

    def bash(self, command: str) -> tuple[int, str]:
        """Runs the command line with sh; returns its exit code and what it printed."""
        call = self.stream.call("Bash", {"command": command})
        self.child = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        try:
            output, _ = self.child.communicate(timeout=COMMAND_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.child.pid, signal.SIGKILL)
            output = self.child.communicate()[0] + "\nCommand timed out"
        code, self.child = self.child.returncode, None
        self.stream.answer(call, output[-SHOWN_CHARS:], failed=code != 0)
        self.think(0.4)
        return code, output

    def git(self, arguments: str) -> str:
        """A git command; its output without the line end."""
        return self.bash(f"git {arguments}")[1].strip()

    def _end(self, signum: int, _frame: FrameType | None) -> None:
        """SIGTERM: take the running command along and end with 143, without a result line."""
        if self.child is not None:
            os.killpg(self.child.pid, signal.SIGKILL)
        sys.stdout.flush()
        os._exit(128 + signum)
