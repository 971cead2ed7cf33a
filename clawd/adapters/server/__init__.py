"""Keeps the embedded Postgres of a home: starts it, finds it, stops it, tells how it is."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from clawd.adapters.server import launch
from clawd.adapters.server.identity import find_server, read_pid_file
from clawd.adapters.server.layout import (
    SOCKET_NAME,
    Layout,
    explained,
    find_layout,
    is_private,
    make_layout,
    prepare_home,
)
from clawd.adapters.server.settings import conninfo
from clawd.errors import ClawdError

__all__ = ["Server", "Status", "discard", "ensure_running", "find_running", "status", "stop"]


@dataclass(frozen=True, slots=True)
class Server:
    """A running server and how to reach it."""

    home: Path
    data: Path
    socket_dir: Path
    conninfo: str


@dataclass(frozen=True, slots=True)
class Status:
    """What `clawd doctor` shows about the embedded server."""

    running: bool
    pid: int | None
    data: Path | None
    log: Path | None
    account: str | None
    major: str | None


def _silent(_line: str) -> None:
    return None


def ensure_running(
    home: Path, *, timeout_s: float = 60, say: Callable[[str], None] = _silent
) -> Server:
    """The home's server, started (and created) when needed; several callers get the same one."""
    running = find_running(home)
    if running is not None:
        return running
    deadline = time.monotonic() + timeout_s
    home = prepare_home(home)
    with _locked(home, deadline):
        layout = make_layout(home)
        running = _attach(layout)
        if running is not None:
            return running
        programs = launch.find_programs(layout)
        if not layout.data.exists():
            say("Creating the database...")
            _end_abandoned(layout, deadline)
            launch.create_cluster(layout, programs)
        elif not _wait_for_another(layout, deadline):
            say("Starting the database...")
        if _attach(layout) is None:
            launch.start_server(layout, programs, deadline)
        running = _attach(layout)
    if running is None:
        raise ClawdError("The database stopped right after its start.", f"Look at {layout.log}.")
    return running


def find_running(home: Path) -> Server | None:
    """The home's server if it is running and ready now; starts and changes nothing."""
    with explained(f"Looking for the database of {home}"):
        layout = find_layout(home)
        return _attach(layout) if layout else None


def stop(home: Path, *, timeout_s: float = 30) -> bool:
    """Stops the home's server and waits until it is gone; False when none was running."""
    layout = find_layout(home)
    if layout is None or not layout.data.exists():
        return False
    deadline = time.monotonic() + timeout_s
    with _locked(layout.home, deadline):
        return launch.end_server(layout, deadline)


def discard(home: Path) -> None:
    """Stops the server and deletes its data for good, also where root's data lives elsewhere."""
    stop(home)
    layout = find_layout(home)
    if layout is None:
        return
    with explained("Deleting the database"):
        for folder in (layout.socket_dir, layout.cluster, layout.home / "pg"):
            shutil.rmtree(folder, ignore_errors=not folder.exists())


def status(home: Path) -> Status:
    """The facts about the home's server for a health report; no data, no facts."""
    layout = find_layout(home)
    if layout is None or not layout.data.exists():
        return Status(False, None, None, None, None, None)
    said = read_pid_file(layout.data)
    process = find_server(said.pid, layout.data, layout.uid) if said else None
    version_file = layout.data / "PG_VERSION"
    return Status(
        running=_attach(layout) is not None,
        pid=process.pid if process else None,
        data=layout.data,
        log=layout.log,
        account=layout.account,
        major=version_file.read_text().strip() if version_file.exists() else None,
    )


def _attach(layout: Layout) -> Server | None:
    said = read_pid_file(layout.data)
    if said is None or said.socket_dir is None or not said.ready:
        return None
    if find_server(said.pid, layout.data, layout.uid) is None:
        return None
    socket_dir = said.socket_dir
    if not is_private(socket_dir, layout.uid) or not (socket_dir / SOCKET_NAME).exists():
        return None
    return Server(layout.home, layout.data, socket_dir, conninfo(layout, socket_dir))


def _wait_for_another(layout: Layout, deadline: float) -> bool:
    """Gives a server that is on its way time to get ready, and ends one nobody can reach."""
    said = read_pid_file(layout.data)
    if said is None or find_server(said.pid, layout.data, layout.uid) is None:
        return False
    if said.ready:  # its socket was removed under it
        launch.end_server(layout, deadline)
        return False

    def settled() -> bool:
        return bool(_attach(layout)) or not find_server(said.pid, layout.data, layout.uid)

    if not launch.wait_until(settled, deadline):
        raise ClawdError(
            "The database is still starting.",
            f"Recovery after a crash can take minutes: run the command again; log: {layout.log}.",
        )
    return True


def _end_abandoned(layout: Layout, deadline: float) -> None:
    """Stops the server of an earlier life of this home, deleted without its data elsewhere.

    The data stays: only a person knows whether the home was lost or thrown away.
    """
    if not layout.drops_privileges:
        return
    same_home = layout.cluster.name.split("-")[0]
    for cluster in layout.cluster.parent.glob(f"{same_home}-*"):
        if cluster != layout.cluster:
            launch.end_server(replace(layout, cluster=cluster), deadline)


@contextmanager
def _locked(home: Path, deadline: float) -> Iterator[None]:
    """One process at a time starts or stops this home's server."""
    with explained("Locking the database folder"):
        descriptor = os.open(home / "pg" / "lock", os.O_RDWR | os.O_CREAT, 0o600)

    def locked() -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    try:
        if not launch.wait_until(locked, deadline):
            raise ClawdError(
                "Another process has been starting or stopping the database for too long.",
                "Run the command again in a minute.",
            )
        yield
    finally:
        os.close(descriptor)
