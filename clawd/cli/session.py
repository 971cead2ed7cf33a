"""What one invocation works with: its home, and a database that is there while it is needed."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clawd.errors import NotRunning, Refused, UsageError

if TYPE_CHECKING:
    from clawd.store.rows import Db

_APPLICATION = "clawd cli"


@dataclass(frozen=True, slots=True)
class Session:
    """The home and the environment a command was called with."""

    home: Path
    database_url: str | None

    @classmethod
    def of(cls, home: str | None, environ: Mapping[str, str]) -> Session:
        """From --home, else CLAWD_HOME, else ~/.clawd."""
        named = home or environ.get("CLAWD_HOME") or "~/.clawd"
        if "\0" in named:
            raise UsageError("The name of the home holds a NUL character.")
        path = Path(os.path.abspath(os.path.expanduser(named)))
        return cls(path, environ.get("CLAWD_DATABASE_URL") or None)


def require_own(home: Path) -> None:
    """What another account's clawd writes is only ever written by that account."""
    try:
        owner = home.stat().st_uid
    except OSError:
        return  # not there or not to be seen: whoever needs it says so
    if owner != os.geteuid():
        from clawd.setup.home import owner_name  # noqa: PLC0415

        name = owner_name(owner)
        raise Refused(
            f"The home {home} belongs to {name}.",
            f"Run clawd as {name}, or name a home of your own with --home.",
        )


@contextmanager
def open_db(session: Session) -> Iterator[Db]:
    """A connection; a server that only commands needed is stopped by the last of them."""
    from clawd.adapters import postgres  # noqa: PLC0415 - costs a tenth of a second

    with _served(session) as served:
        db = postgres.connect(served.conninfo, application_name=_APPLICATION)
        try:
            _meet_schema(db)
            yield db
            served.alone = _others(db) == 0
        finally:
            db.close()


@contextmanager
def open_server(session: Session) -> Iterator[str]:
    """Where the database answers, for tools that connect themselves."""
    with _served(session) as served:
        yield served.conninfo
        served.alone = True


def open_running_db(session: Session) -> Db | None:
    """A connection when a database answers right now; nothing is started for it."""
    from clawd.adapters import postgres, server  # noqa: PLC0415

    conninfo = session.database_url
    with contextlib.suppress(Exception):
        if conninfo is None:
            running = server.find_running(session.home)
            conninfo = None if running is None else running.conninfo
        return postgres.connect(conninfo, application_name=_APPLICATION) if conninfo else None
    return None


def daemon_pid(home: Path) -> int | None:
    """The daemon of this home: it holds the lock for as long as it lives."""
    try:
        with (home / "daemon.lock").open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return int(file.read(20).split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return None


def gave_up(home: Path) -> str:
    """The last words of a daemon that stopped itself; nothing once another has started."""
    try:
        return (home / "gave-up.txt").read_text("utf-8", "replace").strip()
    except OSError:
        return ""


@dataclass(slots=True)
class _Served:
    """A server to talk to; `alone` is whether nobody else does."""

    conninfo: str
    alone: bool = False


@contextmanager
def _served(session: Session) -> Iterator[_Served]:
    if session.database_url is not None:
        yield _Served(session.database_url)
        return
    from clawd.adapters import server  # noqa: PLC0415

    home = session.home
    if not home.is_dir():
        raise _nothing_here(home)
    require_own(home)
    running = server.find_running(home)
    if running is None and server.status(home).data is None:
        raise _nothing_here(home)
    with _shared(home) as lock:
        if running is None:
            running = server.ensure_running(home)
            os.write(lock, b"started by a command\n")
        served = _Served(running.conninfo)
        try:
            yield served
        finally:
            if served.alone and daemon_pid(home) is None and _is_last(lock):
                os.ftruncate(lock, 0)
                server.stop(home)


@contextmanager
def _shared(home: Path) -> Iterator[int]:
    """Held by every command that uses the server, so that the last one can tell."""
    lock = os.open(home / "commands.lock", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield lock
    finally:
        os.close(lock)


def _is_last(lock: int) -> bool:
    """Whether a command started the server and no other command uses it now."""
    if os.fstat(lock).st_size == 0:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _others(db: Db) -> int:
    row = db.execute(
        """select count(*)::int as n from pg_stat_activity
           where backend_type = 'client backend' and pid <> pg_backend_pid()"""
    ).fetchone()
    return int(row["n"]) if row else 0


def _meet_schema(db: Db) -> None:
    from clawd.store import schema  # noqa: PLC0415

    row = db.execute("select to_regclass('schema_migration') is null as empty").fetchone()
    if row is None or row["empty"]:
        raise NotRunning("The database has nothing of clawd yet.", "Set it up: clawd init PATH")
    schema.migrate(db)


def _nothing_here(home: Path) -> NotRunning:
    return NotRunning(
        f"There is no clawd at {home} yet.",
        "Set it up with `clawd init PATH`, or name another home with --home.",
    )
