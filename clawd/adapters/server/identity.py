"""Tells whether a process really is this home's server, whatever its pid file claims."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class PidFile:
    """What `postmaster.pid` says about a server that is, or was, running."""

    pid: int
    socket_dir: Path | None
    ready: bool


def read_pid_file(data: Path) -> PidFile | None:
    """None when there is no readable file; a torn one names pid 0, which is never a server."""
    try:
        with (data / "postmaster.pid").open(encoding="utf-8", errors="replace") as file:
            lines = file.read(4096).splitlines()
    except OSError:
        return None
    pid = int(lines[0]) if lines and lines[0].strip().isdigit() else 0
    socket_dir = Path(lines[4]) if len(lines) > 4 and lines[4].startswith("/") else None
    ready = len(lines) > 7 and lines[7].strip() == "ready"
    return PidFile(pid, socket_dir, ready)


def is_alive(pid: int) -> bool:
    """A process that runs; a dead one nobody has collected yet is not one."""
    try:
        return pid > 0 and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def find_server(pid: int, data: Path, uid: int) -> psutil.Process | None:
    """The process `pid` if it is a postmaster of `uid` over exactly this data folder.

    Its start time is not compared: a laptop's clock jumps, its command line does not.
    """
    if pid <= 0:
        return None
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            if process.status() == psutil.STATUS_ZOMBIE or process.uids().effective != uid:
                return None
            arguments = process.cmdline()
            named = process.name().startswith("postgres")
        return process if named and str(data) in arguments[1:] else None
    except psutil.Error:
        return None


def find_holders(data: Path) -> list[int]:
    """Living Postgres processes that work in this data folder (orphans of a killed server)."""
    holders = []
    for process in psutil.process_iter():
        try:
            if not process.name().startswith("postgres") or process.cwd() != str(data):
                continue
            if process.status() != psutil.STATUS_ZOMBIE:
                holders.append(process.pid)
        except psutil.Error:
            continue
    return holders
