"""The machine: Python, locale, temporary files, the home and its disk."""

from __future__ import annotations

import os
import platform
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from clawd.config import Config
from clawd.doctor.finding import Finding
from clawd.setup.home import owner_name

OLDEST_PYTHON = (3, 11)
_GB = 1_000_000_000
_TMP_LEAST_BYTES = 200_000_000


def python() -> Iterator[Finding]:
    """The interpreter clawd runs on."""
    detail = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info >= OLDEST_PYTHON:
        yield Finding("python", True, detail)
    else:
        yield Finding("python", False, detail, "Use Python 3.11 or newer.")


def locale() -> Iterator[Finding]:
    """Names of files and titles of tasks are UTF-8 everywhere here."""
    encoding = sys.getfilesystemencoding()
    if encoding.lower().replace("-", "") == "utf8":
        yield Finding("locale", True, "file names are UTF-8")
    else:
        yield Finding("locale", False, f"file names are {encoding}", "export LC_ALL=C.UTF-8")


def temporary() -> Iterator[Finding]:
    """Somewhere to put short-lived files."""
    folder = Path(tempfile.gettempdir())
    try:
        with tempfile.TemporaryFile() as file:
            file.write(b"clawd")
    except OSError as error:
        detail = f"{folder} cannot be written to: {error.strerror}"
        yield Finding("temporary files", False, detail, "Set TMPDIR to a folder you can write to.")
        return
    free = shutil.disk_usage(folder).free
    if free < _TMP_LEAST_BYTES:
        detail = f"{folder} has {free // 1_000_000} MB left"
        yield Finding("temporary files", False, detail, "Free some space there, or set TMPDIR.")
    else:
        yield Finding("temporary files", True, f"{folder}, {free / _GB:.1f} GB free")


def home(folder: Path, config: Config) -> Iterator[Finding]:
    """Whose the home is, who may look into it, and how full its disk is."""
    try:
        found = folder.stat()
    except FileNotFoundError:
        yield Finding("home", None, f"{folder} is not there yet", "Make it: clawd init PATH")
        return
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISDIR(found.st_mode):
        yield Finding("home", False, f"{folder} is no folder", "Set CLAWD_HOME to a folder.")
        return
    if found.st_uid != os.geteuid():
        name = owner_name(found.st_uid)
        remedy = f"Run clawd as {name}, or set CLAWD_HOME to a folder of your own."
        yield Finding("home", False, f"{folder} belongs to {name}", remedy)
    elif mode & 0o077:
        detail = f"{folder} is open to others (mode {mode:04o})"
        yield Finding("home", False, detail, f"chmod 700 {folder}")
    else:
        yield Finding("home", True, f"{folder}, only yours")
    yield _disk(folder, config.limits.free_disk_percent)


def _disk(folder: Path, least_percent: int) -> Finding:
    usage = shutil.disk_usage(folder)
    percent = 100 * usage.free / usage.total if usage.total else 0.0
    detail = f"{percent:.0f} % free ({usage.free / _GB:.1f} GB)"
    if percent >= least_percent:
        return Finding("disk", True, detail)
    return Finding(
        "disk", False, f"{detail}; below {least_percent} % no task is claimed",
        f"Free some space, or lower limits.free_disk_percent; old runs are in {folder / 'runs'}.",
    )  # fmt: skip
