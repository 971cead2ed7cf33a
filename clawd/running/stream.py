"""Reads a run's stream-json as it grows and keeps the facts, whatever the bytes are."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

from clawd.policy.facts import StreamFacts
from clawd.running.events import Journal


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """Bounds of memory: a longer line is dropped and counted, longer text stays in the file."""

    line_bytes: int = 32 << 20
    text_bytes: int = 64 << 10
    inputs: int = 400
    chunk_bytes: int = 1 << 20


DEFAULT_LIMITS = ReadLimits()


class Reader:
    """Takes a stream piece by piece; `facts()` says what is known so far."""

    def __init__(self, limits: ReadLimits = DEFAULT_LIMITS) -> None:
        self.offset = 0
        self._limits = limits
        self._journal = Journal(limits.text_bytes, limits.inputs)
        self._pieces: list[bytes] = []
        self._held_bytes = 0
        self._dropping = False
        self._lines = self._bad = self._dropped = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes, cut anywhere."""
        self.offset += len(data)
        *complete, rest = data.split(b"\n")
        for line in complete:
            self._hold(line)
            self._end_line()
        self._hold(rest)

    def poll(self, path: Path, most_bytes: int | None = None) -> bool:
        """Take what the file has beyond the last call; False when there was nothing new."""
        start = self.offset
        end = None if most_bytes is None else start + most_bytes
        try:
            file = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            while end is None or self.offset < end:
                wanted = self._limits.chunk_bytes
                if end is not None:
                    wanted = min(wanted, end - self.offset)
                data = os.pread(file, wanted, self.offset)
                if not data:
                    break
                self.feed(data)
        finally:
            os.close(file)
        return self.offset > start

    def close(self) -> None:
        """The stream is over: a last line without its newline counts if it is whole."""
        if self._pieces and not self._dropping:
            torn = b"".join(self._pieces)
            self._pieces, self._held_bytes = [], 0
            self._take(torn)

    def facts(self) -> StreamFacts:
        """A snapshot of everything learnt so far."""
        return replace(
            self._journal.facts(),
            lines=self._lines,
            bad_lines=self._bad,
            dropped_lines=self._dropped,
            size_bytes=self.offset,
        )

    def _hold(self, piece: bytes) -> None:
        if not piece or self._dropping:
            return
        self._pieces.append(piece)
        self._held_bytes += len(piece)
        if self._held_bytes > self._limits.line_bytes:
            self._pieces, self._held_bytes, self._dropping = [], 0, True

    def _end_line(self) -> None:
        if self._dropping:
            self._dropping = False
            self._lines += 1
            self._dropped += 1
            return
        line = b"".join(self._pieces)
        self._pieces, self._held_bytes = [], 0
        self._take(line)

    def _take(self, line: bytes) -> None:
        line = line.strip(b" \t\r\0")
        if not line:
            return
        self._lines += 1
        try:
            event = json.loads(line.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            self._bad += 1
            return
        if isinstance(event, dict):
            self._journal.note(event)
        else:
            self._bad += 1


def read(path: Path, limits: ReadLimits = DEFAULT_LIMITS) -> StreamFacts:
    """The facts of a whole stream file; a missing file is an empty stream."""
    reader = Reader(limits)
    reader.poll(path)
    reader.close()
    return reader.facts()
