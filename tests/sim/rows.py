"""The simulated database's rows: the columns that decide something."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Bug(StrEnum):
    """A guard that can be taken out, to see that the simulator notices."""

    NO_FENCE = "no_fence"
    NO_CAS = "no_cas"
    LOST_OUTBOX = "lost_outbox"
    DOUBLE_ADOPT = "double_adopt"
    WRONG_CLOCK = "wrong_clock"
    NO_SCAN = "no_scan"
    LIMIT_CHARGED = "limit_charged"
    OLD_VERDICT = "old_verdict"
    UNTESTED_LANDING = "untested_landing"
    STALE_TESTS = "stale_tests"
    LANDS_AGAIN = "lands_again"
    NOT_RESERVED = "not_reserved"
    EARLY_DEPENDANTS = "early_dependants"
    CANCEL_WHILE_LANDING = "cancel_while_landing"
    ROUND_NOT_COUNTED = "round_not_counted"
    OLD_CHECK = "old_check"


class Violation(AssertionError):
    """A promise was broken."""

    def __init__(self, promise: str, story: str) -> None:
        super().__init__(f"{promise}: {story}")
        self.promise = promise


class DbDown(Exception):
    """The database does not answer; what was asked may or may not have happened."""


class Refused(Exception):
    """The base of what the database itself refuses."""


class Fenced(Refused):
    """The writer's fence is not the task's."""


class IllegalMove(Refused):
    """The machine has no such move."""


class NoRoom(Refused):
    """The agent is busy or the envelope is full."""


@dataclass(slots=True)
class Task:
    id: int
    kind: str = "code"
    goal: int | None = None
    state: str = "backlog"
    reason: str = ""
    owner: str = "clawd"
    front: bool = False
    queued_at: float = 0.0
    not_before: float = 0.0
    needs: tuple[int, ...] = ()
    unmet: frozenset[int] = frozenset()
    contract: int = 1
    fence: int = 0
    lease_until: float = 0.0
    run: int | None = None
    host: str = ""
    tries: int = 0
    round: int = 0
    bounces: int = 0
    return_to: str = ""
    candidate: int | None = None
    prefer_agent: int | None = None
    prefer_until: float = 0.0
    scope: tuple[str, ...] = ()


@dataclass(slots=True)
class Goal:
    id: int
    state: str = "seen"
    specified: bool = False
    reason: str = ""
    owner: str = "clawd"
    plan_tries: int = 0
    not_before: float = 0.0


@dataclass(slots=True)
class Run:
    id: int
    role: str
    agent: int
    host: str
    fence: int
    reserved: int
    capped: bool
    task: int | None = None
    goal: int | None = None
    contract: int = 0
    candidate: int | None = None
    state: str = "created"
    reason: str = ""
    base: int = 0
    spent: int = 0


@dataclass(slots=True)
class Agent:
    id: int
    role: str
    live_run: int | None = None


@dataclass(slots=True)
class Envelope:
    limit: int
    spent: int = 0
    reserved: int = 0


@dataclass(slots=True)
class Candidate:
    id: int
    task: int
    run: int
    commit: int
    no_change: bool = False
    check: str = "due"
    checked_for: int = 0
    red_check: bool = False
    held: str = ""


@dataclass(slots=True)
class Verdict:
    task: int
    candidate: int
    contract: int
    answer: str


@dataclass(slots=True)
class Landing:
    id: int
    task: int
    kind: str
    candidate: int
    old_main: int
    new_main: int
    tree: frozenset[int]
    state: str = "intent"


@dataclass(slots=True)
class Approval:
    id: int
    task: int | None
    goal: int | None
    kind: str
    state: str = "open"


@dataclass(slots=True)
class Message:
    id: int
    dedupe: str
    state: str = "due"


@dataclass(slots=True)
class Move:
    """One committed row of history, with what the writer claimed to hold."""

    kind: str
    id: int
    was: str
    event: str
    state: str
    by_run: int | None = None
    fence: int | None = None
    old_fence: int = 0
    old_run: int | None = None
    reason: str = ""


@dataclass(slots=True)
class Settings:
    """What a seed's operator put into clawd.yaml."""

    tries: int = 3
    rounds: int = 3
    bounces: int = 5
    slots: int = 2
    max_live: int = 5
    day_micros: int = 60_000_000
    task_micros: int = 9_000_000
    hosts: tuple[str, ...] = ("home",)


@dataclass(slots=True)
class Project:
    baseline_tree: frozenset[int] | None = None
    baseline: str = "unknown"
    paused_until: float = 0.0
    pause_why: str = ""
    failure_rate: float = 0.15
    verdicts: dict[frozenset[int], str] = field(default_factory=dict)
