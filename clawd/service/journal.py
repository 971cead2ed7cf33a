"""The daemon's log for people: the last lines of it, and what comes next, across rotation."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAME = "clawd.log"
_TAIL_BYTES = 4_000_000
_LOOK_EVERY_S = 0.5
_LARGEST_SERVICE_LOG_BYTES = 1_000_000
_KNOWN = ("at", "level", "action", "text", "traceback")


@dataclass(frozen=True, slots=True)
class LogLine:
    """One event of the daemon."""

    at: str
    level: str
    action: str
    text: str
    ids: dict[str, Any]


def read(line: str) -> LogLine:
    """One line of the file; what is no event is shown as it is."""
    try:
        found = json.loads(line)
        ids = {str(key): value for key, value in found.items() if key not in _KNOWN}
    except (ValueError, AttributeError):
        return LogLine("", "info", "", line.rstrip("\n"), {})
    at, level, action, text = (str(found.get(key, "")) for key in _KNOWN[:4])
    cause = str(found.get("traceback", "")).strip().splitlines()
    if cause and cause[-1] not in text:
        text = f"{text} ({cause[-1]})" if text else cause[-1]
    return LogLine(at, level, action, text, ids)


def sentence(line: LogLine) -> str:
    """The event on one line for a person."""
    ids = " ".join(f"{key}={value}" for key, value in line.ids.items())
    at = line.at.replace("T", " ").removesuffix("Z")
    mark = "" if line.level in ("info", "") else line.level.upper()
    return "  ".join(part for part in (at, mark, line.action, ids, line.text) if part)


def last(folder: Path, count: int) -> list[LogLine]:
    """The newest lines, oldest first; of the file before too when this one has just begun."""
    lines: list[str] = []
    for name in (NAME, f"{NAME}.1"):
        if len(lines) < count:
            lines = _tail(folder / name) + lines
    return [read(line) for line in lines[-count:]] if count else []


def last_words(log: Path, count: int = 5) -> list[str]:
    """What the service manager caught of a daemon that ended before it had a log."""
    return _tail(log)[-count:]


def follow(folder: Path, stop: threading.Event) -> Iterator[LogLine]:
    """New lines as they come, from now on; a rotated file is read to its end first."""
    path, file, rest = folder / NAME, None, ""
    at_end = True
    while not stop.is_set():
        if file is None:
            file, rest = _open(path, at_end=at_end), ""
            at_end = False
        new = file.read() if file is not None else ""
        if new:
            *whole, rest = (rest + new).split("\n")
            yield from (read(line) for line in whole if line)
            continue
        if file is not None and _replaced(file, path):
            file.close()
            file = None
            continue
        stop.wait(_LOOK_EVERY_S)
    if file is not None:
        file.close()


def trim(log: Path) -> None:
    """Nobody else rotates what the service manager writes."""
    try:
        if log.stat().st_size > _LARGEST_SERVICE_LOG_BYTES:
            os.truncate(log, 0)
    except OSError:
        return


def _open(path: Path, *, at_end: bool) -> Any:
    try:
        file = path.open(encoding="utf-8", errors="replace")
    except OSError:
        return None
    if at_end:
        file.seek(0, os.SEEK_END)
    return file


def _replaced(file: Any, path: Path) -> bool:
    try:
        now = path.stat()
    except OSError:
        return False
    opened = os.fstat(file.fileno())
    return (opened.st_dev, opened.st_ino) != (now.st_dev, now.st_ino)


def _tail(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    lines = text.splitlines()
    return [line for line in (lines[1:] if size > _TAIL_BYTES else lines) if line.strip()]
