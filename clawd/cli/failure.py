"""Says in one sentence what went wrong; the traceback goes into a file."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import sys
import tempfile
import traceback
from datetime import datetime
from pathlib import Path
from shlex import quote

from clawd.cli.show import one_line, sentence
from clawd.errors import ClawdError

UNEXPECTED = 1
# A command in a remedy: `clawd up`, not the word in a sentence such as "clawd goes on".
_COMMAND = re.compile(
    r"\bclawd (up|down|init|doctor|status|resume|restart|inbox|backup|task|goal|run|budget)\b"
)
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


def explain(
    error: BaseException, home: Path | None, *, as_json: bool = False, named: bool = False
) -> int:
    """Says the sentence and the remedy, in JSON too when asked; returns the exit code.

    `named` is a home from the command line: the commands of the remedy name it, too.
    """
    known = error if isinstance(error, ClawdError) else _database(error) or _system(error)
    if known is None:
        where = _write_crash_log(error, home)
        what = one_line(str(error), 300)
        known = ClawdError(
            f"something unexpected happened: {type(error).__name__}: {what}",
            f"The details are in {where}",
        )
    remedy = sentence(known.remedy)
    if named and home is not None:
        remedy = _COMMAND.sub(lambda found: f"clawd --home {quote(str(home))} {found[1]}", remedy)
    _say(f"clawd: {sentence(known.message)}")
    if remedy:
        _say(f"       {remedy}")
    if as_json:
        say_json(sentence(known.message), remedy, known.exit_code)
    return known.exit_code


def say_json(message: str, remedy: str, code: int) -> None:
    """The failure as one object on stdout, where a program looks for its answer."""
    with contextlib.suppress(OSError):
        print(json.dumps({"error": message, "remedy": remedy, "exit_code": code}), flush=True)


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
    if isinstance(error, OSError) and error.errno in _CLOSED and error.filename:
        return ClawdError(
            f"{error.filename}: {error.strerror}.",
            "Run clawd as whoever may use it, or name another home with --home.",
        )
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
    for folder in (home / "logs" if home else None, Path(tempfile.gettempdir())):
        if folder is None:
            continue
        try:
            if not folder.parent.is_dir():
                continue
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
