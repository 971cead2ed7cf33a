"""Opens connections to Postgres, alone or in a pool, with our limits; judges its errors."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

import psycopg
from psycopg.abc import Buffer
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import set_json_dumps
from psycopg.types.string import StrDumperUnknown

from clawd.adapters import server
from clawd.adapters.postgres.text import scrub_json, scrub_text
from clawd.errors import ClawdError, NotRunning, UsageError

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

URL_VARIABLE = "CLAWD_DATABASE_URL"
LARGEST_TEXT_BYTES = 1 << 20
# A pool that found no server asks again soon after it is back, not minutes later.
_GIVES_UP_AFTER_S = 5.0
_SESSION = {
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "60s",
    "lock_timeout": "10s",
    "TimeZone": "UTC",
}
_SETTLE = "SELECT " + ", ".join(
    f"set_config('{name}', '{value}', false)" for name, value in _SESSION.items()
)
# A remote server can vanish without a word: notice within a minute, and never write to a standby.
_REMOTE_DEFAULTS: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "target_session_attrs": "read-write",
}
# Lost or refused connections, shutdowns, a standby, full resources, lock waits, deadlocks.
_TRANSIENT_CLASSES = frozenset({"08", "53"})
_TRANSIENT_STATES = frozenset(
    {"25006", "25P03", "40001", "40P01", "55P03", "57014", "57P01", "57P02", "57P03", "57P05"}
)

_opened_lock = threading.Lock()
_opened: WeakKeyDictionary[Any, WeakSet[psycopg.Connection[DictRow]]] = WeakKeyDictionary()


def resolve(home: Path, environ: Mapping[str, str], *, start: bool = True) -> str:
    """How to reach the database: the operator's own, else the home's, started when needed."""
    given = environ.get(URL_VARIABLE, "").strip()
    if given:
        try:
            conninfo_to_dict(given)
        except psycopg.Error:
            raise ClawdError(  # the value may hold a password: it is not repeated
                f"{URL_VARIABLE} is not a PostgreSQL connection string.",
                "Write it as postgresql://user@host:5432/database.",
            ) from None
        return given
    if start:
        return server.ensure_running(home).conninfo
    running = server.find_running(home)
    if running is None:
        raise NotRunning(f"The database of {home} is not running.", "Start it with `clawd up`.")
    return running.conninfo


def is_local(conninfo: str) -> bool:
    """A server on this machine, reached through its socket without a pooler in between."""
    return str(conninfo_to_dict(conninfo).get("host") or "").startswith("/")


def _parameters(conninfo: str, application_name: str) -> str:
    try:
        given = conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError:  # its text may quote a password
        raise UsageError(
            f"{URL_VARIABLE} is no address of a database.",
            "Write it as postgresql://USER@HOST/NAME or as host=... dbname=...",
        ) from None
    added: dict[str, Any] = {} if is_local(conninfo) else dict(_REMOTE_DEFAULTS)
    added |= {"application_name": application_name, "client_encoding": "utf8"}
    return make_conninfo("", **{**added, **{k: v for k, v in given.items() if v is not None}})


def _prepare_threshold(conninfo: str) -> int | None:
    """Statements are prepared only without a pooler: it may hand the next one to another server."""
    return 5 if is_local(conninfo) else None


def connect(
    conninfo: str, *, application_name: str, autocommit: bool = True
) -> psycopg.Connection[DictRow]:
    """One connection with our session limits; the caller closes it."""
    connection = psycopg.connect(
        _parameters(conninfo, application_name),
        autocommit=True,
        row_factory=dict_row,
        prepare_threshold=_prepare_threshold(conninfo),
    )
    _settle(connection)
    connection.autocommit = autocommit
    return connection


class _CleanText(StrDumperUnknown):
    """The one boundary every text crosses on its way into the database."""

    def dump(self, obj: str) -> Buffer | None:
        if not obj.isascii() or "\0" in obj or len(obj) > LARGEST_TEXT_BYTES:
            obj = scrub_text(obj, LARGEST_TEXT_BYTES)
        return super().dump(obj)


def _dump_json(value: Any) -> str:
    return json.dumps(scrub_json(value), ensure_ascii=False)


def _settle(connection: psycopg.Connection[DictRow]) -> None:
    connection.adapters.register_dumper(str, _CleanText)
    set_json_dumps(_dump_json, connection)
    connection.execute(_SETTLE, prepare=False)
    if not connection.autocommit:
        connection.commit()


def open_pool(
    conninfo: str, *, size: int, application_name: str = "clawd", timeout_s: float = 10
) -> ConnectionPool[psycopg.Connection[DictRow]]:
    """An open pool whose connections are checked before each use; the caller closes it."""
    from psycopg_pool import ConnectionPool  # noqa: PLC0415 (short commands never need it)

    opened: WeakSet[psycopg.Connection[DictRow]] = WeakSet()

    def settle(connection: psycopg.Connection[DictRow]) -> None:
        with _opened_lock:
            opened.add(connection)
        _settle(connection)

    pool = ConnectionPool(
        _parameters(conninfo, application_name),
        connection_class=psycopg.Connection[DictRow],
        min_size=1,
        max_size=max(1, size),
        kwargs={
            "autocommit": True,
            "row_factory": dict_row,
            "prepare_threshold": _prepare_threshold(conninfo),
        },
        configure=settle,
        check=ConnectionPool.check_connection,
        name=application_name,
        timeout=timeout_s,
        reconnect_timeout=_GIVES_UP_AFTER_S,
        open=False,
    )
    _opened[pool] = opened
    try:
        pool.open(wait=True, timeout=timeout_s)
    except psycopg.Error:
        pool.close()
        raise
    return pool


def cut(pool: ConnectionPool[psycopg.Connection[DictRow]]) -> int:
    """Ends a pool's connections at the socket, those in use too; how many there were.

    Over a path that froze, nothing else ever wakes a thread that waits for an answer.
    """
    with _opened_lock:
        connections = list(_opened.get(pool, ()))
    ended = 0
    for connection in connections:
        with suppress(OSError, psycopg.Error):
            with socket.socket(fileno=os.dup(connection.fileno())) as line:
                line.shutdown(socket.SHUT_RDWR)
            ended += 1
    return ended


def is_transient(error: BaseException) -> bool:
    """Whether the same statement may succeed later, on this or on a new connection."""
    if not isinstance(error, psycopg.Error):
        return False
    state = error.sqlstate
    if state is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return state[:2] in _TRANSIENT_CLASSES or state in _TRANSIENT_STATES


def explain(error: psycopg.Error) -> ClawdError:
    """A database error as one sentence for the operator."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if is_transient(error):
        return NotRunning(
            f"The database cannot be used now: {first}.",
            f"Run `clawd doctor`; if {URL_VARIABLE} is set, look at that server.",
        )
    return ClawdError(f"The database refused: {first}.", "Run `clawd doctor`.")
