"""Keeps the machine from falling asleep while agents work, and lets it when they are done."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic

AGAIN_S = 600.0  # a machine that refuses is not asked every few seconds
_STOP_LIMIT_S = 5.0


def command(pid: int, platform: str = sys.platform) -> list[str]:
    """What holds sleep off for as long as process `pid` lives; empty where nothing does."""
    if platform == "darwin":
        found = shutil.which("caffeinate", path="/usr/bin:" + os.environ.get("PATH", ""))
        return [found, "-i", "-w", str(pid)] if found else []
    inhibit, tail = shutil.which("systemd-inhibit"), shutil.which("tail")
    if not inhibit or not tail or not Path("/run/systemd/system").exists():
        return []
    why = ["--what=sleep", "--mode=block", "--who=clawd", "--why=agents are at work"]
    return [inhibit, *why, tail, f"--pid={pid}", "-f", "/dev/null"]


class Awake:
    """One process that holds sleep off; it ends with us even when we are killed."""

    def __init__(self, held_by: list[str] | None = None) -> None:
        self._command = command(os.getpid()) if held_by is None else held_by
        self._holder: subprocess.Popen[bytes] | None = None
        self._not_before = 0.0

    @property
    def held(self) -> bool:
        """Whether sleep is held off right now."""
        return self._holder is not None and self._holder.poll() is None

    def keep(self, live: bool) -> None:
        """Holds sleep off while `live`, lets go otherwise; never raises, never waits for long."""
        if not live:
            self._let_go()
        elif self._command and not self.held and monotonic() >= self._not_before:
            self._not_before = monotonic() + AGAIN_S
            self._hold()

    def _hold(self) -> None:
        try:
            self._holder = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, start_new_session=True, cwd="/",
            )  # fmt: skip
        except OSError:
            self._holder = None

    def _let_go(self) -> None:
        holder, self._holder = self._holder, None
        self._not_before = 0.0
        if holder is None or holder.poll() is not None:
            return
        try:
            os.killpg(holder.pid, signal.SIGTERM)
            holder.wait(_STOP_LIMIT_S)
        except (OSError, subprocess.TimeoutExpired):
            holder.kill()
            holder.wait(_STOP_LIMIT_S)
