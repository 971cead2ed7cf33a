"""Hears Postgres notifications on a connection of its own, and survives losing it."""

from __future__ import annotations

import logging
import random
import selectors
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import psycopg
from psycopg import pq, sql
from psycopg.rows import DictRow

from clawd.adapters.postgres.connection import connect, is_local

_log = logging.getLogger(__name__)
_SLICE_S = 0.5  # how late a stop may be noticed
_ECHO_EVERY_S = 30.0
_ECHO_LIMIT_S = 5.0
_BACKOFF_FIRST_S = 0.2
_BACKOFF_LAST_S = 30.0


class _Lost(Exception):
    """The connection is gone or no longer answers."""


class Listener:
    """A hint that something changed. The tables are the truth: callers look at them anyway.

    A remote connection can die without an error, so it is tested with an echo of its own; a local
    socket always tells. Used by one thread.
    """

    def __init__(
        self,
        conninfo: str,
        *,
        channel: str = "clawd",
        application_name: str = "clawd-listener",
        echo_every_s: float | None = None,
        on_frozen: Callable[[], object] = lambda: None,
        on_deaf: Callable[[], object] = lambda: None,
        on_lost: Callable[[Exception], object] = lambda error: None,
    ) -> None:
        self._conninfo = conninfo
        self._channel = channel
        self._application_name = application_name
        self._echo_every_s = echo_every_s
        if echo_every_s is None and not is_local(conninfo):
            self._echo_every_s = _ECHO_EVERY_S
        self._on_frozen, self._on_deaf, self._on_lost = on_frozen, on_deaf, on_lost
        self._connection: psycopg.Connection[DictRow] | None = None
        self._backoff_s = _BACKOFF_FIRST_S
        self._retry_at = 0.0
        self._proved_at = 0.0
        self._echo_sent_at: float | None = None
        self._echoed = False  # behind a pooler no notification ever comes: that is no frozen path

    @property
    def silent_for_s(self) -> float | None:
        """Seconds since the connection last proved that it works; None while it is down."""
        return time.monotonic() - self._proved_at if self._connection else None

    def wait(self, timeout_s: float, stop: threading.Event) -> bool:
        """True as soon as there is a reason to look; False after `timeout_s`, or when stopped.

        A fresh connection is a reason too: what was said before it was not heard.
        """
        deadline = time.monotonic() + timeout_s
        while not stop.is_set():
            left_s = deadline - time.monotonic()
            if self._connection is None:
                if self._reconnect():
                    return True
                stop.wait(max(0.0, min(left_s, self._retry_at - time.monotonic())))
            elif self._heard(max(0.0, min(left_s, _SLICE_S))):
                return True
            if time.monotonic() >= deadline:
                return False
        return False

    def close(self) -> None:
        """Ends the connection; the next `wait` would open a new one."""
        connection, self._connection = self._connection, None
        self._echo_sent_at = None
        if connection is not None:
            with suppress(psycopg.Error, OSError):
                connection.close()

    def _reconnect(self) -> bool:
        if time.monotonic() < self._retry_at:
            return False
        try:
            connection = connect(self._conninfo, application_name=self._application_name)
            try:
                for channel in (self._channel, self._echo_channel(connection)):
                    connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            except BaseException:
                connection.close()
                raise
        except (psycopg.Error, OSError) as error:
            self._lose(error)
            return False
        self._connection = connection
        self._proved_at = time.monotonic()
        self._backoff_s = _BACKOFF_FIRST_S
        return True

    def _echo_channel(self, connection: psycopg.Connection[DictRow]) -> str:
        return f"{self._channel}_echo_{connection.info.backend_pid}"

    def _heard(self, timeout_s: float) -> bool:
        connection = self._connection
        if connection is None:
            return False
        try:
            channels = _receive(connection.pgconn, timeout_s)
            if channels:
                self._echoed = True
                self._proved_at = time.monotonic()
                self._echo_sent_at = None
            self._keep_proving(connection)
        except (_Lost, psycopg.Error, OSError) as error:
            self.close()
            self._lose(error)
            return False
        return self._channel in channels

    def _keep_proving(self, connection: psycopg.Connection[DictRow]) -> None:
        now = time.monotonic()
        if self._echo_every_s is None:
            return
        if self._echo_sent_at is not None:
            if now - self._echo_sent_at > _ECHO_LIMIT_S:
                self._miss_echo()
        elif now - self._proved_at > self._echo_every_s:
            # Sent without waiting for the answer: a frozen path would never give one.
            connection.pgconn.send_query(f'NOTIFY "{self._echo_channel(connection)}"'.encode())
            connection.pgconn.flush()
            self._echo_sent_at = now

    def _miss_echo(self) -> None:
        if self._echoed:
            self._on_frozen()
        else:
            _log.warning("action=poll_only error='no notification comes through: a pooler?'")
            self._on_deaf()
        raise _Lost("no echo")

    def _lose(self, error: Exception) -> None:
        _log.warning("action=listener_lost error=%r retry_in_s=%.1f", str(error), self._backoff_s)
        self._retry_at = time.monotonic() + self._backoff_s * random.uniform(0.8, 1.2)
        self._backoff_s = min(self._backoff_s * 2, _BACKOFF_LAST_S)
        if self._echoed or not isinstance(error, _Lost):
            self._on_lost(error)


def _receive(pgconn: pq.abc.PGconn, timeout_s: float) -> set[str]:
    """Channels of every notification that arrives within `timeout_s`; raises when it is over."""
    channels = _take(pgconn)
    if channels:
        return channels
    with selectors.DefaultSelector() as selector:
        selector.register(pgconn.socket, selectors.EVENT_READ)
        if not selector.select(timeout_s):
            return set()
    pgconn.consume_input()
    while not pgconn.is_busy() and pgconn.get_result() is not None:
        pass
    if pgconn.status != pq.ConnStatus.OK:
        raise _Lost("the server closed the connection")
    return _take(pgconn)


def _take(pgconn: pq.abc.PGconn) -> set[str]:
    channels = set()
    while (heard := pgconn.notifies()) is not None:
        channels.add(heard.relname.decode("utf-8", "replace"))
    return channels
