"""The closed list of reasons: whose turn it is, whether a retry helps, who pays, the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Owner(StrEnum):
    """Whose turn it is when something stopped."""

    CLAWD = "clawd"
    OPERATOR = "operator"
    AGENT = "agent"
    ACCOUNT = "account"


class Reason(StrEnum):
    """Why a goal, a task or a run is where it is; the unknown is refused."""

    # the process
    CRASHED = "crashed"
    LOST = "lost"
    WALL_LIMIT = "wall_limit"
    IDLE_LIMIT = "idle_limit"
    TURN_LIMIT = "turn_limit"
    MONEY_LIMIT = "money_limit"
    FLOOD = "flood"
    NO_DAEMON = "no_daemon"
    CAGE_FAILED = "cage_failed"
    CLI_MISSING = "cli_missing"
    CLI_OUTDATED = "cli_outdated"
    CLI_USAGE = "cli_usage"
    SESSION_GONE = "session_gone"
    # the door to the model
    ENVELOPE_EMPTY = "envelope_empty"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    NOT_LOGGED_IN = "not_logged_in"
    AUTH_FAILED = "auth_failed"
    BILLING = "billing"
    MODEL_NOT_FOUND = "model_not_found"
    API_ERROR = "api_error"
    NO_CONNECTION = "no_connection"
    REFUSED_BY_MODEL = "refused_by_model"
    CONTEXT_TOO_LONG = "context_too_long"
    OUTPUT_TOO_LONG = "output_too_long"
    BAD_REQUEST = "bad_request"
    # the work
    BAD_OUTPUT = "bad_output"
    NO_CANDIDATE = "no_candidate"
    CANDIDATE_REFUSED = "candidate_refused"
    PERMISSION_DENIED = "permission_denied"
    SCOPE = "scope"
    CHECK_RED = "check_red"
    REVISE = "revise"
    REVIEW_ROUNDS = "review_rounds"
    TRIES = "tries"
    TIER_TOO_LOW = "tier_too_low"
    PLAN_REFUSED = "plan_refused"
    # the landing
    CONFLICT = "conflict"
    BOUNCES = "bounces"
    TESTS_RED = "tests_red"
    BASE_RED = "base_red"
    BASE_FLAKY = "base_flaky"
    SETUP_FAILED = "setup_failed"
    NO_TEST_COMMAND = "no_test_command"
    DIVERGED = "diverged"
    NOT_PROVEN = "not_proven"
    REVERTED = "reverted"
    # what a person or clawd decided
    QUESTION = "question"
    HELD = "held"
    DENIED = "denied"
    EXPIRED = "expired"
    KILLED = "killed"
    CANCELLED = "cancelled"
    EDITED = "edited"
    WITHDRAWN = "withdrawn"
    DEPENDENCY_GONE = "dependency_gone"
    FROZEN = "frozen"
    FENCED = "fenced"
    RESTARTED = "restarted"
    DISK_FULL = "disk_full"


@dataclass(frozen=True, slots=True)
class ReasonInfo:
    """What follows from a reason; `charged` raises the task's tries."""

    owner: Owner
    retryable: bool
    charged: bool
    remedy: str


_C, _O, _A, _X = Owner.CLAWD, Owner.OPERATOR, Owner.AGENT, Owner.ACCOUNT
_NEXT_RUN = "clawd starts another run by itself."
_WAITS = "clawd goes on by itself when the time has come."
_EDIT = "Read `clawd log` of the run, then edit the task or retry it."
_LOGIN = "Log in again: `clawd init` asks for a fresh token, or put one into agent.env."

REASONS: Mapping[Reason, ReasonInfo] = {
    Reason.CRASHED: ReasonInfo(_A, True, True, _NEXT_RUN),
    Reason.LOST: ReasonInfo(_C, True, False, _NEXT_RUN),
    Reason.WALL_LIMIT: ReasonInfo(_A, True, True, _NEXT_RUN),
    Reason.IDLE_LIMIT: ReasonInfo(_A, True, True, _NEXT_RUN),
    Reason.TURN_LIMIT: ReasonInfo(_A, True, True, _NEXT_RUN),
    Reason.MONEY_LIMIT: ReasonInfo(_A, True, True, _NEXT_RUN),
    Reason.FLOOD: ReasonInfo(_A, True, True, _NEXT_RUN),
    Reason.NO_DAEMON: ReasonInfo(_C, True, False, _NEXT_RUN),
    Reason.CAGE_FAILED: ReasonInfo(
        _O, True, False, "Run `clawd doctor`: it names the missing piece of the cage."
    ),
    Reason.CLI_MISSING: ReasonInfo(
        _O, True, False, "Install Claude Code, or set `claude.path` in clawd.yaml."
    ),
    Reason.CLI_OUTDATED: ReasonInfo(_O, True, False, "Update Claude Code with `claude update`."),
    Reason.CLI_USAGE: ReasonInfo(
        _O, True, False, "This Claude Code refuses clawd's options: run `clawd doctor`."
    ),
    Reason.SESSION_GONE: ReasonInfo(_C, True, False, "The next run starts a fresh session."),
    Reason.ENVELOPE_EMPTY: ReasonInfo(
        _O, True, False, "Raise the budget in clawd.yaml, or wait for the next day."
    ),
    Reason.RATE_LIMITED: ReasonInfo(_X, True, False, _WAITS),
    Reason.OVERLOADED: ReasonInfo(_X, True, False, _WAITS),
    Reason.NOT_LOGGED_IN: ReasonInfo(_X, True, False, _LOGIN),
    Reason.AUTH_FAILED: ReasonInfo(_X, True, False, _LOGIN),
    Reason.BILLING: ReasonInfo(_X, True, False, "Add credit to the account, then `clawd resume`."),
    Reason.MODEL_NOT_FOUND: ReasonInfo(
        _O, True, False, "Name a model the account may use in clawd.yaml."
    ),
    Reason.API_ERROR: ReasonInfo(_X, True, False, _WAITS),
    Reason.NO_CONNECTION: ReasonInfo(_C, True, False, _WAITS),
    Reason.REFUSED_BY_MODEL: ReasonInfo(_A, True, True, _EDIT),
    Reason.CONTEXT_TOO_LONG: ReasonInfo(_A, True, True, "The next run starts a fresh session."),
    Reason.OUTPUT_TOO_LONG: ReasonInfo(_A, True, True, _NEXT_RUN),
    Reason.BAD_REQUEST: ReasonInfo(_A, True, True, "The next run starts a fresh session."),
    Reason.BAD_OUTPUT: ReasonInfo(_A, True, True, _NEXT_RUN),
    Reason.NO_CANDIDATE: ReasonInfo(_A, True, True, _NEXT_RUN),
    Reason.CANDIDATE_REFUSED: ReasonInfo(_A, True, True, _NEXT_RUN),
    Reason.PERMISSION_DENIED: ReasonInfo(_A, True, True, _EDIT),
    Reason.SCOPE: ReasonInfo(
        _A, True, True, "The next run is told its scope; widen it with `clawd task edit`."
    ),
    Reason.CHECK_RED: ReasonInfo(_A, True, True, "The next run is handed the red output."),
    Reason.REVISE: ReasonInfo(_A, True, False, "The next run is handed the findings."),
    Reason.REVIEW_ROUNDS: ReasonInfo(_O, False, False, _EDIT),
    Reason.TRIES: ReasonInfo(_O, False, False, _EDIT),
    Reason.TIER_TOO_LOW: ReasonInfo(
        _O, False, False, "No agent's tier may do this: make it smaller, or promote one."
    ),
    Reason.PLAN_REFUSED: ReasonInfo(
        _O, False, False, "Reword the goal in ROADMAP.md; clawd plans it again."
    ),
    Reason.CONFLICT: ReasonInfo(_A, True, False, "The next run is handed both sides."),
    Reason.BOUNCES: ReasonInfo(_O, False, False, _EDIT),
    Reason.TESTS_RED: ReasonInfo(_A, True, False, "The next run is handed the red output."),
    Reason.BASE_RED: ReasonInfo(
        _O, True, False, "Main's own tests fail: mend main, or list them under `known_red`."
    ),
    Reason.BASE_FLAKY: ReasonInfo(
        _O, True, False, "Main's tests differ from run to run: mend or list the flaky ones."
    ),
    Reason.SETUP_FAILED: ReasonInfo(
        _O, True, False, "The set-up command failed: mend it in clawd.yaml, see `clawd log`."
    ),
    Reason.NO_TEST_COMMAND: ReasonInfo(
        _O, True, False, "Set the project's `test` command in clawd.yaml; nothing lands without."
    ),
    Reason.DIVERGED: ReasonInfo(
        _O, True, False, "Your main and clawd's do not merge: merge clawd/main by hand."
    ),
    Reason.NOT_PROVEN: ReasonInfo(_O, False, False, "Look at `clawd evidence`, then retry."),
    Reason.REVERTED: ReasonInfo(_O, False, False, "Its landing was undone; reopen the goal."),
    Reason.QUESTION: ReasonInfo(_O, False, False, "Answer it: `clawd inbox`."),
    Reason.HELD: ReasonInfo(_O, False, False, "Approve or reject it: `clawd inbox`."),
    Reason.DENIED: ReasonInfo(_O, False, False, "You said no; edit the task or cancel it."),
    Reason.EXPIRED: ReasonInfo(_O, False, False, "Nobody answered in time; retry asks again."),
    Reason.KILLED: ReasonInfo(_O, True, False, "`clawd resume` lifts the kill switch."),
    Reason.CANCELLED: ReasonInfo(_O, False, False, "`clawd goal reopen` brings it back."),
    Reason.EDITED: ReasonInfo(_C, True, False, _NEXT_RUN),
    Reason.WITHDRAWN: ReasonInfo(_O, False, False, "Put the item back into ROADMAP.md."),
    Reason.DEPENDENCY_GONE: ReasonInfo(
        _O, False, False, "A task it needs will not land: retry that one, or edit this one."
    ),
    Reason.FROZEN: ReasonInfo(_O, True, False, "`clawd resume` lifts the pause."),
    Reason.FENCED: ReasonInfo(_C, True, False, "A newer run holds the task; nothing to do."),
    Reason.RESTARTED: ReasonInfo(_C, True, False, _NEXT_RUN),
    Reason.DISK_FULL: ReasonInfo(_O, True, False, "Free some disk space; clawd goes on."),
}


def parse_reason(text: str) -> Reason:
    """The reason named by `text`; anything else is a bug in the caller and is refused."""
    return Reason(text)
