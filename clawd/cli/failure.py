"""Says in one sentence what went wrong; the traceback goes into a file."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from datetime import datetime
from pathlib import Path

from clawd.cli.show import one_line, sentence
from clawd.errors import ClawdError

UNEXPECTED = 1


def explain(error: BaseException, home: Path | None) -> int:
    """Prints the sentence and the remedy to stderr; returns the exit code."""
    known = error if isinstance(error, ClawdError) else _database(error) or _system(error)
    if known is not None:
        _say(f"clawd: {sentence(known.message)}")
        if known.remedy:
            _say(f"       {sentence(known.remedy)}")
        return known.exit_code
    where = _write_crash_log(error, home)
    what = one_line(str(error), 300)
    _say(f"clawd: something unexpected happened: {type(error).__name__}: {what}")
    _say(f"       The details are in {where}")
    return UNEXPECTED


def _database(error: BaseException) -> ClawdError | None:
    """The driver's own errors that mean a database that is away, full or foreign."""
    if not type(error).__module__.startswith("psycopg"):
        return None
    import psycopg  # noqa: PLC0415 - loaded already when one of its errors arrives

    from clawd.adapters import postgres  # noqa: PLC0415

    away = isinstance(error, psycopg.Error) and (
        postgres.is_transient(error) or isinstance(error, psycopg.OperationalError)
    )
    return postgres.explain(error) if away and isinstance(error, psycopg.Error) else None


def _system(error: BaseException) -> ClawdError | None:
    """The machine's own refusals, where the sentence is plain enough without a traceback."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ClawdError(f"{error.strerror}: the answer could not be written.", "Make room.")
    if isinstance(error, FileNotFoundError) and not _stands_somewhere():
        return ClawdError("The folder you stand in does not exist any more.", "Change to another.")
    return None


def _stands_somewhere() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def _write_crash_log(error: BaseException, home: Path | None) -> str:
    name = f"crash-{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.txt"
    text = "".join(traceback.format_exception(error))
    for folder in (home / "logs" if home and home.is_dir() else None, Path(tempfile.gettempdir())):
        if folder is None:
            continue
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            path = folder / name
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
        except OSError:
            continue
        return str(path)
    return "no file: none could be written"


def _say(line: str) -> None:
    try:
        print(line, file=sys.stderr)
    except OSError:
        return
