"""Local paths to a Postgres that misbehave: one freezes, one swallows every notification."""

from __future__ import annotations

import socket
import struct
import threading
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo


class LocalPath:
    """A TCP relay on 127.0.0.1 to a server's socket; `frozen` carries nothing and ends nothing."""

    def __init__(self, target: str, *, deaf: bool = False) -> None:
        self._target, self._deaf = target, deaf
        self._door = socket.create_server(("127.0.0.1", 0))
        self._port = self._door.getsockname()[1]
        self._sockets = [self._door]
        self.frozen = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def conninfo(self, straight: str) -> str:
        """The same database by way of this relay."""
        return make_conninfo(
            straight, host="127.0.0.1", port=self._port, requirepeer="", connect_timeout=2,
            sslmode="disable", gssencmode="disable",
        )  # fmt: skip

    def close(self) -> None:
        """Ends the relay and everything it carries."""
        for each in self._sockets:
            _end(each)
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._door.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(self._target)
            self._sockets += [near, far]
            back = self._without_notifications if self._deaf else self._carry
            for carry, one, other in ((self._carry, near, far), (back, far, near)):
                threading.Thread(target=carry, args=(one, other), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                if not self.frozen.is_set():
                    other.sendall(data)
        except OSError:
            pass
        _end(other)

    def _without_notifications(self, one: socket.socket, other: socket.socket) -> None:
        """What a pooler in transaction mode lets through: answers, never a notification."""
        held = b""
        try:
            while data := one.recv(65536):
                held += data
                while len(held) >= 5:
                    size = 1 + struct.unpack(">I", held[1:5])[0]
                    if len(held) < size:
                        break
                    if held[:1] != b"A":
                        other.sendall(held[:size])
                    held = held[size:]
        except OSError:
            pass
        _end(other)


def _end(line: socket.socket) -> None:
    try:
        line.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def socket_of(conninfo: str) -> str:
    """The server's socket file a conninfo leads to."""
    known = conninfo_to_dict(conninfo)
    return str(Path(str(known["host"])) / f".s.PGSQL.{known.get('port') or 5432}")
