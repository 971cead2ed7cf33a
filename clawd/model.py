"""The rows and answers that travel between floors: enums and frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

Json = dict[str, Any]


class Role(StrEnum):
    """What an agent is asked to be in one run."""

    PM = "pm"
    PLANNER = "planner"
    DEV = "dev"
    QA = "qa"


class TaskState(StrEnum):
    """Where a task stands; the legal moves between them are in machine.py."""

    BACKLOG = "backlog"
    CLAIMED = "claimed"
    RUNNING = "running"
    REVIEW = "review"
    MERGING = "merging"
    WAITING = "waiting"
    VERIFYING = "verifying"
    DONE = "done"
    PARKED = "parked"
    CANCELLED = "cancelled"
    ROLLED_BACK = "rolled_back"


class GoalState(StrEnum):
    """Where a goal stands."""

    SEEN = "seen"
    PLANNING = "planning"
    BLOCKED = "blocked"
    PLANNED = "planned"
    DONE = "done"
    WITHDRAWN = "withdrawn"


class RunState(StrEnum):
    """Where a run stands."""

    CREATED = "created"
    CONTEXT_LOADED = "context_loaded"
    EXECUTING = "executing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    FENCED = "fenced"
    LOST = "lost"


class Landing(StrEnum):
    """How a landing reaches the operator's own repository."""

    FOLLOW = "follow"
    BRANCH = "branch"
    PUSH = "push"


@dataclass(frozen=True, slots=True)
class Project:
    """A repository under care."""

    id: int
    slug: str
    path: str
    main_ref: str
    home_host: str
    state: str
    weight: int
    landing: Landing
    test_cmd: str
    setup_cmd: str
    settings: Json
    roadmap_digest: str
    roadmap_problem: str
    operator_oid: str
    baseline_tree: str
    baseline_verdict: str
    baseline_log: str
    landings_held: str
    not_followed: str


@dataclass(frozen=True, slots=True)
class Goal:
    """An item of the roadmap."""

    id: int
    project: int
    ident: str
    state: GoalState
    title: str
    body: str
    section: str
    digest: str
    line: int
    priority: int
    spec: Json
    plan_tries: int
    not_before: datetime | None
    reason: str
    action: str
    owner: str
    done_by: str
    ticked: bool
    marked: bool
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Task:
    """Ten to thirty minutes of work under a contract."""

    id: int
    project: int
    goal: int | None
    kind: str
    state: TaskState
    title: str
    reason: str
    action: str
    owner: str
    priority: int
    front: bool
    queued_at: datetime
    changed_at: datetime
    not_before: datetime | None
    deps_open: int
    contract_version: int
    fence: int
    lease_until: datetime | None
    leased_by_run: int | None
    host: str
    tries: int
    round: int
    bounces: int
    prefer_agent: int | None
    prefer_until: datetime | None
    return_to: str
    candidate: int | None
    scope: tuple[str, ...]
    size_minutes: int
    risk: str
    difficulty: str
    redo_of: int | None
    mends: bool


@dataclass(frozen=True, slots=True)
class Agent:
    """A named identity with a role; one live run at a time."""

    id: int
    name: str
    role: Role
    kind: str
    model: str
    state: str
    live_run: int | None
    last_used: datetime | None


@dataclass(frozen=True, slots=True)
class Run:
    """One agent process for one task (or goal) and role."""

    id: int
    task: int | None
    goal: int | None
    project: int
    role: Role
    agent: int
    host: str
    fence: int
    resumes: int | None
    state: RunState
    reason: str
    detail: str
    charged: bool
    session: str
    marker: str
    folder: str
    cli_version: str
    cli_sha: str
    model: str
    tier: str
    network: str
    prompt_hash: str
    contract_version: int
    base_oid: str
    limits: Json
    reserved_micros: int
    spent_micros: int
    turns: int
    doing: str
    delivered_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Clause:
    """One acceptance command of a contract."""

    id: str
    run: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the operator said to a question."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Contract:
    """What a task promises, in one version: an edit or an answer makes the next."""

    spec: str
    acceptance: tuple[Clause, ...] = ()
    scope: tuple[str, ...] = ()
    may_change: tuple[str, ...] = ()
    answers: tuple[Answer, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """The commit a run produced, fetched out of its workspace."""

    id: int
    task: int
    run: int
    host: str
    ref: str
    oid: str
    base_oid: str
    tree: str
    patch_digest: str
    no_change: bool
    stat: Json
    check_state: str
    checks: list[Json]


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """QA's stored answer on one candidate under one contract version."""

    id: int
    task: int
    candidate: int
    run: int
    contract_version: int
    answer: str
    summary: str
    findings: list[Json]


@dataclass(frozen=True, slots=True)
class LandingRow:
    """One intent to move main, and what became of it."""

    id: int
    project: int
    task: int
    kind: str
    candidate: int | None
    train: int
    old_main: str
    new_main: str
    car: str
    tree: str
    state: str
    at: datetime
    landed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Approval:
    """A question or request that waits for a person."""

    id: int
    task: int | None
    goal: int | None
    project: int | None
    kind: str
    question: str
    options: list[str]
    digest: str
    subject: Json
    state: str
    asked: datetime
    expires: datetime | None
    by: str
    answer: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What a decision rests on, as it is written into lineage."""

    inputs: Json = field(default_factory=dict)
    policy: str = ""
    version: str = ""
    model: str = ""
    prompt_hash: str = ""
    evidence: tuple[int, ...] = ()

    def json(self) -> Json:
        """The shape clawd_chain() reads."""
        return {
            "inputs": self.inputs,
            "policy": self.policy,
            "version": self.version,
            "model": self.model,
            "prompt_hash": self.prompt_hash,
            "evidence": list(self.evidence),
        }


NO_FACTS = Facts()
