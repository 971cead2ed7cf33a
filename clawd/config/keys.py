"""Every key of clawd.yaml with its default, its unit and what it does."""

# ruff: noqa: RUF009 - setting() is dataclasses.field() with its documentation
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from clawd.errors import UsageError
from clawd.model import Landing, Role
from clawd.policy.setting import setting
from clawd.policy.tier import DEFAULT_TIERS, Tier, TierName

EFFORTS = ("", "low", "medium", "high", "xhigh", "max")
BYTES_IN_MB = 1_000_000


class Sandbox(StrEnum):
    """Whether agents run inside a cage."""

    AUTO = "auto"
    NONE = "none"


class Login(StrEnum):
    """Where a run's credential comes from."""

    TOKEN = "token"  # noqa: S105 - the name of a way to log in
    INHERIT = "inherit"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class RoleSettings:
    """The agents of one role."""

    count: int = setting(1, "How many agents have this role.", least=1, most=512)
    names: tuple[str, ...] = setting(
        (), "Names of their own for the first of them; the rest are called by role and number."
    )
    model: str = setting("sonnet", "Model alias or full name; empty is the CLI's own choice.")
    fallback: str = setting("", "Model while the other one rests; empty lets the agents rest, too.")
    effort: str = setting("", "How hard the model thinks; empty is its default.", choices=EFFORTS)
    tier: TierName = setting(TierName.INTERN, "The tier an agent starts at in a project.")


@dataclass(frozen=True, slots=True)
class TeamSettings:
    """Who works, role by role."""

    pm: RoleSettings = setting(RoleSettings, "Turns roadmap items into goals with a spec.")
    planner: RoleSettings = setting(
        lambda: RoleSettings(model="opus", tier=TierName.JUNIOR), "Cuts goals into tasks."
    )
    dev: RoleSettings = setting(lambda: RoleSettings(count=3), "Does the tasks.")
    qa: RoleSettings = setting(lambda: RoleSettings(count=2), "Reviews every candidate.")

    def of(self, role: Role) -> RoleSettings:
        """The settings of one role."""
        every = {Role.PM: self.pm, Role.PLANNER: self.planner, Role.DEV: self.dev}
        return every.get(role, self.qa)

    def names_of(self, role: Role) -> tuple[str, ...]:
        """The names of a role's agents, as many as it counts."""
        own = self.of(role)
        numbered = (f"{role}-{number}" for number in range(len(own.names) + 1, own.count + 1))
        return (*own.names[: own.count], *numbered)


class Billing(StrEnum):
    """What a run's list price means to the operator."""

    SUBSCRIPTION = "subscription"
    API_KEY = "api_key"
    SDK_CREDIT = "sdk_credit"


@dataclass(frozen=True, slots=True)
class BudgetSettings:
    """What may be spent, at list price, whatever the account is billed."""

    billing: Billing = setting(
        Billing.SUBSCRIPTION,
        "How the account pays: with `api_key` the list price is money, else it is a measure.",
    )
    day_micros: int = setting(
        10_000_000, "All runs of one day.", unit="usd", name="day_usd", least=0, most=100_000
    )
    task_micros: int = setting(
        8_000_000,
        "All runs of one task; then the task waits for you.",
        unit="usd",
        name="task_usd",
        least=0,
        most=100_000,
    )


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """Bounds of one run beside its tier, and of all runs together."""

    max_live: int = setting(4, "Runs at the same time on this machine.", least=1, most=512)
    idle_s: int = setting(
        900, "A run without output for this long is ended.", unit="seconds", least=10
    )
    no_daemon_s: int = setting(
        600, "A run whose daemon is away for this long ends itself.", unit="seconds", least=30
    )
    stream_mb: int = setting(
        256, "Output of one run before it is ended as a flood.", unit="MB", least=1, most=10_000
    )
    stderr_mb: int = setting(
        16, "Error output of one run before it is ended.", unit="MB", least=1, most=10_000
    )
    file_mb: int = setting(
        4096, "Largest single file a run may write.", unit="MB", least=1, most=1_000_000
    )
    free_memory_mb: int = setting(
        400, "No run starts while less memory is free.", unit="MB", least=0, most=1_000_000
    )
    load_per_core: int = setting(
        8, "No run starts while more than this many processes wait for each core; 0: never mind.",
        least=0, most=1_000,
    )  # fmt: skip
    free_disk_percent: int = setting(
        5, "No task is claimed while less of the disk is free.", unit="%", least=0, most=50
    )


@dataclass(frozen=True, slots=True)
class ClaudeSettings:
    """The `claude` command line program."""

    path: str = setting("", "Where it is; empty looks it up in PATH and the usual places.")
    minimum: str = setting("2.1.197", "Older versions are refused.")
    retries: int = setting(
        8, "How often it asks again when the API fails, before the run gives up.", least=0, most=50
    )
    api_timeout_s: int = setting(
        600, "One request to the API without an answer.", unit="seconds", least=1, most=3600
    )


@dataclass(frozen=True, slots=True)
class RoadmapSettings:
    """How ROADMAP.md is watched."""

    poll_s: float = setting(
        60.0, "The file's hash is compared this often.", unit="seconds", least=1, most=86_400
    )
    pass_minutes: float = setting(
        30.0, "A full pass over the roadmap this often.", unit="minutes", least=1, most=1440
    )
    debounce_s: float = setting(
        0.5, "Quiet time after a change before it is read.", unit="seconds", least=0, most=60
    )


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """Set-up, checks and the tests of the combined tree."""

    retry_red: bool = setting(
        True, "Test a red tree once more, so that a flaky test is told from a red one."
    )
    slots: int = setting(
        0, "Combined trees tested at the same time; 0 is half the cores.", least=0, most=64
    )
    retest_minutes: float = setting(
        360.0, "Main is tested again this often.", unit="minutes", least=1, most=100_000
    )
    test_timeout_s: int = setting(1800, "The project's test command.", unit="seconds", least=1)
    check_timeout_s: int = setting(
        600, "One acceptance command of a contract.", unit="seconds", least=1
    )
    setup_timeout_s: int = setting(1800, "The project's set-up command.", unit="seconds", least=1)


@dataclass(frozen=True, slots=True)
class LeaseSettings:
    """How long a run keeps its task without a sign of life."""

    lease_s: int = setting(90, "A lease without a heartbeat.", unit="seconds", least=10)
    heartbeat_s: int = setting(20, "Between two heartbeats.", unit="seconds", least=1)
    scan_s: int = setting(15, "Between two scans for lapsed leases.", unit="seconds", least=1)


@dataclass(frozen=True, slots=True)
class ReviewSettings:
    """How often a task may come back from QA."""

    rounds: int = setting(3, "Revise verdicts before the task is parked.", least=0, most=20)


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """How long what runs leave behind is kept."""

    days: int = setting(
        14, "Run folders, sessions and refs of ended tasks.", unit="days", least=1, most=3650
    )
    disk_gb: float = setting(
        10.0, "Above this the oldest run folders go before their days.", unit="GB", least=0.1
    )
    dumps: int = setting(7, "Daily backups of the database.", least=1, most=1000)


@dataclass(frozen=True, slots=True)
class ProjectSettings:
    """A repository under care."""

    path: str = setting("", "The repository; `~` is your home.", required=True)
    branch: str = setting("", "Its main branch; empty is the one checked out at `init`.")
    test: str = setting("", "The test command; without one nothing lands.")
    setup: str = setting("", "The command that installs its dependencies.")
    setup_key: tuple[str, ...] = setting(
        (), "Files whose change makes the set-up run again, such as lock files."
    )
    setup_paths: tuple[str, ...] = setting(
        (), "Folders the set-up makes, such as `.venv`; agents and tests see them read-only."
    )
    landing: Landing | None = setting(None, "As `landing` above, for this project alone.")
    weight: int = setting(1, "Its share of the agents beside other projects.", least=1, most=100)
    known_red: tuple[str, ...] = setting((), "Tests that are red on main and count for nothing.")
    max_agents: int = setting(
        0, "Agents at the same time; 0 is one until the first landing, then no cap.", least=0
    )
    overlap: bool = setting(
        False, "Whether tasks that may touch the same files run beside each other."
    )
    test_timeout_s: int = setting(
        0, "As `train.test_timeout_s`, for this project; 0 is that one.", unit="seconds", least=0
    )
    network_for_tests: bool = setting(False, "Whether its tests may reach the network.")


def _no_projects() -> Mapping[str, ProjectSettings]:
    return MappingProxyType({})


def _all_tiers() -> Mapping[TierName, Tier]:
    return DEFAULT_TIERS


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration; frozen, read once at start."""

    agents: TeamSettings = setting(TeamSettings, "Who works, role by role.")
    tiers: Mapping[TierName, Tier] = setting(_all_tiers, "What a run may use at each tier.")
    budget: BudgetSettings = setting(BudgetSettings, "What may be spent, at list price.")
    limits: LimitSettings = setting(LimitSettings, "Bounds of runs and of this machine.")
    sandbox: Sandbox = setting(
        Sandbox.AUTO, "`auto` runs agents in a cage or not at all; `none` runs them as you."
    )
    login: Login = setting(
        Login.TOKEN,
        "`token` reads `agent.env`, `inherit` uses your own login; `none` gives agents neither a "
        "credential nor the network, for agents that are scripts.",
    )
    claude: ClaudeSettings = setting(ClaudeSettings, "The `claude` command line program.")
    roadmap: RoadmapSettings = setting(RoadmapSettings, "How ROADMAP.md is watched.")
    train: TrainSettings = setting(TrainSettings, "Set-up, checks and tests.")
    lease: LeaseSettings = setting(LeaseSettings, "How long a run keeps its task.")
    review: ReviewSettings = setting(ReviewSettings, "How often a task may come back from QA.")
    retention: RetentionSettings = setting(RetentionSettings, "How long leftovers are kept.")
    tries: int = setting(3, "Charged failures before a task is parked.", least=1, most=20)
    bounces: int = setting(5, "Returns from the train before a task is parked.", least=1, most=50)
    landing: Landing = setting(
        Landing.FOLLOW,
        "`follow` moves your checkout when it is clean and on main, `branch` only offers "
        "`refs/remotes/clawd/main`, `push` pushes through the gate.",
    )
    projects: Mapping[str, ProjectSettings] = setting(_no_projects, "Repositories under care.")

    def project(self, slug: str) -> ProjectSettings:
        """The settings of one project."""
        if slug not in self.projects:
            raise UsageError(f"There is no project {slug!r} in clawd.yaml.", "Run `clawd init`.")
        return self.projects[slug]

    def landing_of(self, slug: str) -> Landing:
        """How this project's landings reach the operator."""
        return self.project(slug).landing or self.landing

    def test_timeout_of(self, slug: str) -> int:
        """The deadline of this project's test command, in seconds."""
        return self.project(slug).test_timeout_s or self.train.test_timeout_s
