"""What the tests of the server keeper share: other users, other processes, odd homes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

ROOT = os.geteuid() == 0
REPOSITORY = Path(__file__).parents[2]
# Imports first, drops the privileges then: the interpreter itself may be out of a user's reach.
_PRELUDE = """
import encodings.idna, json, os, pwd, signal, sys, tempfile, time
from pathlib import Path
import psutil, psycopg
from clawd.adapters import postgres, server
from clawd.adapters.server import layout, launch, locate
from clawd.errors import ClawdError
def kill(pid):
    os.kill(pid, signal.SIGKILL)  # takes effect a moment after it returns
    assert launch.wait_until(lambda: not launch.is_alive(pid), time.monotonic() + 10)
uid = int(os.environ.pop("TEST_UID", os.geteuid()))
if uid != os.geteuid():
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
"""


def script(
    code: str, *arguments: object, uid: int | None = None, path: Path | None = None
) -> subprocess.Popen[str]:
    """A fresh Python that runs `code` with the keeper imported, as `uid` when given."""
    found = [str(path or REPOSITORY), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(filter(None, found))}
    if uid is not None:
        environ["TEST_UID"] = str(uid)
    return subprocess.Popen(
        [sys.executable, "-c", _PRELUDE + code, *map(str, arguments)],
        env=environ,
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run_script(
    code: str, *arguments: object, uid: int | None = None, path: Path | None = None
) -> str:
    """What such a script printed; its failure is the test's."""
    process = script(code, *arguments, uid=uid, path=path)
    try:
        out, err = process.communicate(timeout=90)
    finally:
        process.kill()
    assert process.returncode == 0, err
    return out.strip()


def postmaster(data: Path) -> psutil.Process:
    return psutil.Process(int((data / "postmaster.pid").read_text().splitlines()[0]))


def eventually(condition: Callable[[], bool], timeout_s: float = 20) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777
