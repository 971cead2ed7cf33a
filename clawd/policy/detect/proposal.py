"""What a guess is made from and what it says."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any


@dataclass(frozen=True, slots=True)
class Proposal:
    """Settings for a project; empty commands mean that none was found."""

    language: str = ""
    test_cmd: str = ""
    setup_cmd: str = ""
    setup_key: tuple[str, ...] = ()
    setup_paths: tuple[str, ...] = ()
    program: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Look:
    """The tracked files of a repository, and what is installed where its tests will run."""

    files: tuple[str, ...]
    text: Callable[[str], str]
    installed: frozenset[str]

    def has(self, program: str) -> bool:
        return program in self.installed

    def exists(self, *names: str) -> tuple[str, ...]:
        """Those of the names that are tracked."""
        tracked = set(self.files)
        return tuple(name for name in names if name in tracked)

    def match(self, *globs: str) -> tuple[str, ...]:
        """Tracked paths that fit one of the globs; `*` crosses folders."""
        return tuple(name for name in self.files if any(fnmatchcase(name, g) for g in globs))

    def toml(self, name: str) -> dict[str, Any]:
        """A TOML file's tables; a missing or broken one is empty."""
        try:
            return tomllib.loads(self.text(name)) if self.exists(name) else {}
        except (tomllib.TOMLDecodeError, RecursionError):
            return {}

    def json(self, name: str) -> dict[str, Any]:
        """A JSON file's object; a missing or broken one is empty."""
        try:
            found = json.loads(self.text(name)) if self.exists(name) else {}
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


def join(proposal: Proposal, warnings: Iterable[str]) -> Proposal:
    """The proposal with more warnings, each once."""
    return replace(proposal, warnings=tuple(dict.fromkeys((*proposal.warnings, *warnings))))


def table(found: object, *keys: str) -> dict[str, Any]:
    """The table under these keys; empty where something else is."""
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def texts(found: object) -> tuple[str, ...]:
    """The texts of a list; nothing where something else is."""
    return tuple(row for row in found if isinstance(row, str)) if isinstance(found, list) else ()
