"""Creates, starts and ends the server process itself; callers hold the home's lock."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from clawd.adapters.server.identity import find_holders, find_server, is_alive, read_pid_file
from clawd.adapters.server.layout import (
    SOCKET_NAME,
    Layout,
    explained,
    reachable_binaries,
    write_file,
)
from clawd.adapters.server.locate import CHILD_ENVIRON, Binaries, find_binaries
from clawd.adapters.server.settings import ROLE, server_command, write_settings
from clawd.errors import ClawdError

_LOG_LIMIT_BYTES = 4 * 1024 * 1024
_LOG_TAIL_BYTES = 256 * 1024
_INITDB_LIMIT_S = 120
_ORPHANS_LIMIT_S = 15
# The shell only detaches the server: its parent is gone at once, so nobody has to collect it.
_DETACH = '"$@" </dev/null >&2 & echo $!'
_pause = threading.Event().wait


def wait_until(condition: Callable[[], bool], deadline: float) -> bool:
    """Looks every few milliseconds until `condition` holds or `deadline` (monotonic) passes."""
    while not condition():
        if time.monotonic() > deadline:
            return False
        _pause(0.01)
    return True


def find_programs(layout: Layout) -> Binaries:
    """The programs for this home's data folder, or for a new one."""
    version_file = layout.data / "PG_VERSION"
    with explained(f"Reading {version_file}"):
        if not layout.data.exists():
            return reachable_binaries(layout, find_binaries())
        if layout.data.stat().st_uid != layout.uid:
            raise ClawdError(
                f"The database folder {layout.data} belongs to another user.",
                "Run clawd as its owner, or use another CLAWD_HOME.",
            )
        major = version_file.read_text().strip() if version_file.exists() else ""
    if not major.isdigit():
        raise ClawdError(
            f"The database folder {layout.data} has no readable PG_VERSION, so it is damaged.",
            "Move it away and restore a backup, or use another CLAWD_HOME.",
        )
    return reachable_binaries(layout, find_binaries(int(major)))


def create_cluster(layout: Layout, binaries: Binaries) -> None:
    """A new data folder with the database in it; it appears under its name only when whole."""
    for leftover in layout.cluster.glob("data.init.*"):
        shutil.rmtree(leftover, ignore_errors=True)
    with explained("Creating the database"):
        draft = Path(tempfile.mkdtemp(dir=layout.cluster, prefix="data.init."))
        if layout.drops_privileges:
            os.chown(draft, layout.uid, layout.gid)
        options = ["-A", "peer", "--auth-host=reject", "-U", ROLE, "--locale=C", "-E", "UTF8"]
        options += ["--data-checksums", "--no-instructions", "-D", str(draft)]
        _run(layout, [str(binaries.bin / "initdb"), *options], "")
        single = [str(binaries.bin / "postgres"), "--single", "-D", str(draft), "postgres"]
        _run(layout, single, f"CREATE DATABASE {ROLE}\n")
        draft.rename(layout.data)


def _run(layout: Layout, command: list[str], fed: str) -> None:
    try:
        done = subprocess.run(
            command,
            input=fed,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_INITDB_LIMIT_S,
            check=False,
            **_child_options(layout),
        )
    except subprocess.TimeoutExpired:
        raise ClawdError(
            f"Creating the database took longer than {_INITDB_LIMIT_S} seconds.",
            "Look at the load and the disk of this machine, then run the command again.",
        ) from None
    if done.returncode != 0 or "ERROR:" in done.stderr:
        raise ClawdError(
            f"Creating the database failed: {telling_line(done.stderr + done.stdout)}",
            "Run the command again when that is fixed; nothing was left behind.",
        )


def _child_options(layout: Layout) -> dict[str, Any]:
    """Fixed environment, own session, nothing inherited; the other account when we are root."""
    options: dict[str, Any] = {"env": CHILD_ENVIRON, "cwd": "/", "umask": 0o077}
    options["start_new_session"] = True
    if layout.drops_privileges:
        options |= {"user": layout.uid, "group": layout.gid, "extra_groups": []}
    return options


def telling_line(text: str) -> str:
    """The line that explains a failure: the last fatal one, else the last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    grave = [line for line in lines if any(w in line for w in ("FATAL", "PANIC", "ERROR", "error"))]
    return (grave or lines or ["it said nothing"])[-1][:500]


def start_server(layout: Layout, binaries: Binaries, deadline: float) -> None:
    """Starts the server over existing data and returns when it accepts connections."""
    _clear_remains(layout)
    with explained("Starting the database"):
        write_settings(layout, binaries)
        trim_log(layout.log)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        log = os.open(layout.log, flags, 0o600)
        try:
            began = os.fstat(log).st_size
            pid = _launch(layout, binaries, log)
        finally:
            os.close(log)
    ended = wait_until(lambda: _is_ready(layout, pid) or not is_alive(pid), deadline)
    if _is_ready(layout, pid):
        return
    said = telling_line(_read_from(layout.log, began))
    if ended:
        raise ClawdError(
            f"The database did not start: {said}", f"The whole log is in {layout.log}."
        )
    raise ClawdError(
        f"The database is still starting; it last said: {said}",
        "Recovery after a crash can take minutes: run the command again.",
    )


def _launch(layout: Layout, binaries: Binaries, log: int) -> int:
    told = subprocess.run(
        ["/bin/sh", "-c", _DETACH, "sh", *server_command(layout, binaries)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        timeout=30,
        check=True,
        **_child_options(layout),
    )
    return int(told.stdout)


def _is_ready(layout: Layout, pid: int) -> bool:
    said = read_pid_file(layout.data)
    return said is not None and said.pid == pid and said.ready and is_alive(pid)


def _clear_remains(layout: Layout) -> None:
    """Removes the pid file of a server that is gone, once no process uses the folder any more.

    The file may name a living foreign process (a reboot reuses pids): that one is left alone.
    """
    if read_pid_file(layout.data) is None:
        return
    deadline = time.monotonic() + _ORPHANS_LIMIT_S
    if not wait_until(lambda: not find_holders(layout.data), deadline):
        holders = ", ".join(str(pid) for pid in find_holders(layout.data))
        raise ClawdError(
            f"The database folder {layout.data} is still used by process {holders}.",
            "End that process (was the home moved while its server ran?), then try again.",
        )
    with explained("Removing the pid file of a dead server"):
        (layout.data / "postmaster.pid").unlink(missing_ok=True)
        for name in (SOCKET_NAME, f"{SOCKET_NAME}.lock"):
            (layout.socket_dir / name).unlink(missing_ok=True)


def end_server(layout: Layout, deadline: float) -> bool:
    """Fast stop: sessions are cut, data is flushed; returns when the process is really gone."""
    said = read_pid_file(layout.data)
    process = find_server(said.pid, layout.data, layout.uid) if said else None
    if process is None:
        return False
    try:
        process.send_signal(signal.SIGINT)
    except psutil.NoSuchProcess:
        return True
    if not wait_until(lambda: not is_alive(process.pid), deadline):
        raise ClawdError(
            f"The database server (process {process.pid}) has not stopped yet.",
            f"It finishes by itself; look at {layout.log}.",
        )
    return True


def trim_log(log: Path) -> None:
    """Keeps the tail of a log grown too long; the server appends, so it goes on at the top."""
    try:
        if log.stat().st_size <= _LOG_LIMIT_BYTES:
            return
        tail = _read_from(log, log.stat().st_size - _LOG_TAIL_BYTES)
        write_file(log.with_suffix(".log.1"), tail, 0o600)
        os.truncate(log, 0)
    except OSError:
        return  # a log is never a reason not to run


def _read_from(path: Path, offset: int) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            file.seek(offset)
            return file.read(_LOG_TAIL_BYTES)
    except OSError:
        return ""
