"""A disk of its own for a home, so small that a test can fill it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(home: Path) -> Iterator[Path]:
    """The home on 24 MB of its own; skips the test where nobody may mount."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    command = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=0700", "none", str(home)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("no disk may be mounted here")
    try:
        yield home
    finally:
        subprocess.run(["umount", "-l", str(home)], check=True)


def fill(home: Path, leave_bytes: int = 0) -> Path:
    """A file that takes what is free."""
    ballast = home / "ballast"
    with ballast.open("wb", buffering=0) as file:
        free = os.statvfs(home).f_bavail * os.statvfs(home).f_frsize
        left = max(0, free - leave_bytes)
        try:
            while left > 0:
                left -= file.write(b"x" * min(left, 65536))
        except OSError:
            pass
    return ballast
