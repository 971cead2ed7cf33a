"""Health: what is well, what is not, and what to do about each; looks only, never raises."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from clawd import config as configuration
from clawd.config import Config
from clawd.doctor import host, programs, state
from clawd.doctor.finding import Finding
from clawd.errors import ClawdError

__all__ = ["Finding", "check"]

_REPORT = "Run `clawd doctor` again; if it stays so, it is a fault of clawd's own: report it."


def check(home: Path, *, probe: bool = False) -> list[Finding]:
    """Every finding, in the order things depend on each other.

    `ok` is None for what is neither well nor ill (nothing runs yet); `probe` also makes one tiny
    call to the model through the real cage. Nothing is started and nothing is changed.
    """
    found: list[Finding] = []
    config = _config(home, found)
    looks: list[tuple[str, Callable[[], Iterable[Finding]]]] = [
        ("python", host.python),
        ("locale", host.locale),
        ("temporary files", host.temporary),
        ("git", programs.git),
        ("home", lambda: host.home(home, config)),
        ("cage", lambda: programs.cage_works(config)),
        ("claude", lambda: programs.claude_found(config)),
        ("login", lambda: programs.login(home, config, probe=probe)),
        ("daemon", lambda: state.daemon_works(home)),
        ("service", lambda: state.service_of(home)),
        ("kill switch", lambda: state.freeze(home)),
        ("database", lambda: state.database(home)),
        ("projects", lambda: state.projects_of(home, config)),
    ]
    for name, look in looks:
        found += _safely(name, look)
    return [
        one if one.ok is not False or one.remedy else replace(one, remedy=_REPORT) for one in found
    ]


def _config(home: Path, found: list[Finding]) -> Config:
    """The configuration; with a broken file the defaults, so that the rest can be looked at."""
    file = home / configuration.FILE_NAME
    try:
        config = configuration.load(home)
    except ClawdError as error:
        remedy = error.remedy or f"Mend {file}; the reference is docs/configuration.md."
        found.append(Finding("settings", False, error.message, remedy))
        return Config()
    if file.exists():
        found.append(Finding("settings", True, f"{file} is read without complaint"))
    else:
        found.append(Finding("settings", None, f"{file} is not there, so the defaults count",
                             "Make it: clawd init PATH"))  # fmt: skip
    return config


def _safely(name: str, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """A look that fails is a finding too."""
    found: list[Finding] = []
    try:
        found.extend(look())
    except ClawdError as error:
        found.append(Finding(name, False, error.message, error.remedy or _REPORT))
    except Exception as error:
        line = (str(error).strip().splitlines() or [""])[0][:300]
        found.append(Finding(name, False, f"{type(error).__name__}: {line}", _REPORT))
    return found
