"""What the daemon asks of a keeper and what it hears back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from clawd.adapters import process
from clawd.adapters.cage import CageSpec


class Why(StrEnum):
    """What ended a run."""

    EXIT = "exit"
    WALL = "wall"
    IDLE = "idle"
    TURNS = "turns"
    MONEY = "money"
    FROZEN = "frozen"
    STOPPED = "stopped"
    NO_DAEMON = "no_daemon"
    FLOOD = "flood"
    CAGE = "cage"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Limits:
    """What the keeper ends a run for; None is no limit."""

    wall_s: float | None = 3600
    idle_s: float | None = None
    turns: int | None = None
    money_micros: int | None = None
    stream_bytes: int = 256 << 20
    stderr_bytes: int = 16 << 20
    file_bytes: int | None = 4 << 30


@dataclass(frozen=True, slots=True)
class Secret:
    """Where the login is read and how it is handed over: by descriptor, else by variable."""

    file: Path
    key: str
    fd_variable: str | None
    fallback_variable: str | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """Everything a run needs; `cage` None means `sandbox: none`."""

    folder: Path
    marker: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None  # only without a cage; inside it is always the workspace
    stdin_text: str = ""
    cage: CageSpec | None = None
    limits: Limits = field(default_factory=Limits)
    prices: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    secret: Secret | None = None
    freeze_file: Path | None = None
    beat_file: Path | None = None
    no_daemon_s: float = 600
    wake_socket: Path | None = None
    grace_s: float = 5
    stderr_to_stream: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended, as its keeper saw it; `started` says whether the command ever ran."""

    rc: int
    why: Why
    reason: str
    started: bool
    started_at: float
    ended_at: float
    wall_ms: int
    turns: int
    cost_micros: int
    swept: int
    rusage: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Alive:
    """A keeper holds the run; `keeper` is None in the moment before it has named itself."""

    keeper: process.Identity | None


@dataclass(frozen=True, slots=True)
class Ended:
    """The keeper left its result."""

    result: Result


@dataclass(frozen=True, slots=True)
class Lost:
    """The keeper died without a result; whatever is left of it carries the marker."""

    marker: str


@dataclass(frozen=True, slots=True)
class Missing:
    """Nothing was ever started here."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """A command that ran to its end, and the last part of what it printed."""

    result: Result
    output: str

    @property
    def ok(self) -> bool:
        return self.result.rc == 0 and self.result.why is Why.EXIT
