"""Judges how a run ended, from the keeper's word, the exit code and what the stream said.

Text is never proof: success is exit code 0 and a result line and no error in it and the answer in
the asked shape and nobody of us having ended the run. Whether there is work is the caller's fact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from clawd.policy.facts import ResultLine, StreamFacts
from clawd.policy.failure import REASONS, Reason


class Kind(StrEnum):
    """What follows for the task: the move its next row makes."""

    COMPLETED = "completed"
    FAILED = "failed"
    YIELD = "yield"
    ASK = "ask"
    HOLD = "hold"
    CANCELLED = "cancelled"
    FENCED = "fenced"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Ending:
    """The keeper's word: what ended the run, with which exit code, and stderr's last lines."""

    rc: int
    why: str
    reason: str = ""
    stderr: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A judged run; `fresh_session` = the next run must not resume this one's session."""

    kind: Kind
    reason: Reason | None
    detail: str
    not_before: datetime | None = None
    fresh_session: bool = False

    @property
    def charged(self) -> bool:
        """Whether the task's tries rise."""
        if self.kind is not Kind.FAILED or self.reason is None:
            return False
        return REASONS[self.reason].charged


_LONGEST_RESET = timedelta(days=8)
_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(seconds=60), timedelta(hours=1)
_DETAIL_CHARS = 500
_FRESH = {Reason.CONTEXT_TOO_LONG, Reason.BAD_REQUEST, Reason.SESSION_GONE, Reason.REFUSED_BY_MODEL}
# What time or a person ends: the next run at once would only meet it again.
WAITED_FOR = {
    Reason.RATE_LIMITED, Reason.OVERLOADED, Reason.API_ERROR, Reason.NO_CONNECTION,
    Reason.NOT_LOGGED_IN, Reason.AUTH_FAILED, Reason.BILLING, Reason.MODEL_NOT_FOUND,
    Reason.CAGE_FAILED, Reason.CLI_MISSING, Reason.CLI_OUTDATED, Reason.CLI_USAGE,
}  # fmt: skip

_ENDED_BY_US = {
    "wall": Reason.WALL_LIMIT,
    "idle": Reason.IDLE_LIMIT,
    "turns": Reason.TURN_LIMIT,
    "money": Reason.MONEY_LIMIT,
    "flood": Reason.FLOOD,
    "frozen": Reason.KILLED,
    "no_daemon": Reason.NO_DAEMON,
    "cage": Reason.CAGE_FAILED,
    "lost": Reason.LOST,
}
_SUBTYPES = {
    "error_max_turns": Reason.TURN_LIMIT,
    "error_max_budget_usd": Reason.MONEY_LIMIT,
    "error_max_structured_output_retries": Reason.BAD_OUTPUT,
    "error_during_execution": Reason.CRASHED,
}
_ERROR_KINDS = {
    "rate_limit": Reason.RATE_LIMITED,
    "billing_error": Reason.BILLING,
    "model_not_found": Reason.MODEL_NOT_FOUND,
    "max_output_tokens": Reason.OUTPUT_TOO_LONG,
}
_STATUSES = {
    401: Reason.AUTH_FAILED,
    403: Reason.AUTH_FAILED,
    404: Reason.MODEL_NOT_FOUND,
    429: Reason.RATE_LIMITED,
    529: Reason.OVERLOADED,
    402: Reason.BILLING,
    413: Reason.CONTEXT_TOO_LONG,
}
_GATEWAY = {
    "clawd_budget_spent": Reason.ENVELOPE_EMPTY,
    "clawd_fenced": Reason.FENCED,
    "clawd_cancelled": Reason.CANCELLED,
    "clawd_killed": Reason.KILLED,
}


def judge(
    facts: StreamFacts,
    ending: Ending,
    *,
    now: datetime,
    wants_schema: bool = False,
    has_candidate: bool | None = None,
    asks: bool = False,
    capped_by_envelope: bool = False,
    yields: int = 0,
) -> Outcome:
    """The outcome of an ended run.

    `has_candidate` None = none is expected; `yields` = pauses in a row before this one;
    `capped_by_envelope` = the run's money was what its envelope still had, not its tier's limit.
    """
    reason, detail = _why_not(facts, ending, wants_schema)
    if reason is None and asks:
        return Outcome(Kind.ASK, Reason.QUESTION, "the agent asks")
    if reason is None and has_candidate is False:
        reason, detail = Reason.NO_CANDIDATE, "the run ended well and left no work"
    if reason is None:
        return Outcome(Kind.COMPLETED, None, detail)
    if reason is Reason.MONEY_LIMIT and capped_by_envelope:
        reason = Reason.ENVELOPE_EMPTY
    outcome = Outcome(_kind(reason), reason, detail[:_DETAIL_CHARS], fresh_session=reason in _FRESH)
    if outcome.kind is Kind.YIELD and reason in WAITED_FOR:
        return replace(outcome, not_before=_resets_at(facts, reason, now) or pause_end(now, yields))
    return outcome


def pauses_in_a_row(reasons: Sequence[str]) -> int:
    """How many of these reasons, the newest first, are ones that a run waits for."""
    waited = {reason.value for reason in WAITED_FOR}
    for count, reason in enumerate(reasons):
        if reason not in waited:
            return count
    return len(reasons)


def pause_end(now: datetime, yields: int) -> datetime:
    """When to try again: twice as long each time, an hour at most."""
    return now + min(_FIRST_PAUSE * (1 << min(max(yields, 0), 10)), _LONGEST_PAUSE)


def _kind(reason: Reason) -> Kind:
    fixed = {
        Reason.CANCELLED: Kind.CANCELLED,
        Reason.FENCED: Kind.FENCED,
        Reason.LOST: Kind.LOST,
        Reason.ENVELOPE_EMPTY: Kind.HOLD,
        Reason.HELD: Kind.HOLD,
    }
    return fixed.get(reason) or (Kind.FAILED if REASONS[reason].charged else Kind.YIELD)


def _why_not(facts: StreamFacts, ending: Ending, wants_schema: bool) -> tuple[Reason | None, str]:
    """The reason why this run is no success; None when it is one."""
    if ending.why != "exit":
        return _ended_by_us(facts, ending)
    line = facts.result
    if line is None:
        return _without_result(facts, ending)
    if line.is_error or line.subtype != "success":
        return _error(facts, line), _told(line)
    if ending.rc != 0:
        return Reason.CRASHED, f"exit code {ending.rc} after a good result line"
    if wants_schema and not line.has_output:
        return Reason.BAD_OUTPUT, "the answer did not come in the asked shape"
    return None, line.text.partition("\n")[0][:_DETAIL_CHARS]


def _ended_by_us(facts: StreamFacts, ending: Ending) -> tuple[Reason, str]:
    """We ended it: that overrides whatever exit code and result line say."""
    detail = ending.reason or f"ended by its keeper: {ending.why}"
    if ending.why == "stopped":
        word = ending.reason.strip().partition(":")[0].strip()
        known = word in {reason.value for reason in Reason}
        return (Reason(word) if known else Reason.RESTARTED), detail
    if ending.why == "idle" and facts.waits_for in ("model", "retry"):
        # Silence of the model is not the agent's doing.
        return Reason.NO_CONNECTION, f"the model did not answer: {detail}"
    if ending.why == "cage" and "cannot start" in detail and "bwrap" not in detail:
        return Reason.CLI_MISSING, detail
    return _ENDED_BY_US.get(ending.why, Reason.CRASHED), detail


def _without_result(facts: StreamFacts, ending: Ending) -> tuple[Reason, str]:
    """The client ended by itself without its last line."""
    said = ending.stderr.strip().rpartition("\n")[2][:_DETAIL_CHARS]
    if ending.rc == 127 and not facts.lines:
        return Reason.CLI_MISSING, said or "the client could not be started"
    if facts.delivered or ending.rc != 1:
        return Reason.CRASHED, said or f"ended without a result, exit code {ending.rc}"
    if "No conversation found" in said or "already in use" in said:
        return Reason.SESSION_GONE, said
    if "exceeds 10MB" in said:
        return Reason.CONTEXT_TOO_LONG, said
    return Reason.CLI_USAGE, said or "the client refused to start"


def _error(facts: StreamFacts, line: ResultLine) -> Reason:
    """The reason behind an error line: by its fields; one text is needed for a lost session."""
    if line.subtype != "success":
        return _by_subtype(facts, line)
    ours = _gateways_word(line)
    if ours is not None:
        return ours
    if line.terminal_reason == "prompt_too_long":
        return Reason.CONTEXT_TOO_LONG
    if line.stop_reason == "refusal":
        return Reason.REFUSED_BY_MODEL
    if facts.error_kind == "authentication_failed" and line.api_error_status is None:
        return Reason.NOT_LOGGED_IN
    return _ERROR_KINDS.get(facts.error_kind) or _by_status(facts, line.api_error_status)


def _by_subtype(facts: StreamFacts, line: ResultLine) -> Reason:
    gone = any("No conversation found" in error for error in line.errors)
    if gone and not facts.delivered:
        return Reason.SESSION_GONE
    return _SUBTYPES.get(line.subtype, Reason.CRASHED)


def _gateways_word(line: ResultLine) -> Reason | None:
    """Our own refusals, by type; without one (before 2.1.329) by the two statuses we use."""
    if line.api_error_type:
        return _GATEWAY.get(line.api_error_type)
    by_status = {402: Reason.ENVELOPE_EMPTY, 410: Reason.FENCED}
    return by_status.get(line.api_error_status or 0)


def _by_status(facts: StreamFacts, status: int | None) -> Reason:
    if status is None:
        if facts.retry_error == "overloaded":  # before 2.1.329 a 529 has no status
            return Reason.OVERLOADED
        return Reason.NO_CONNECTION if facts.error_kind == "server_error" else Reason.API_ERROR
    if status in _STATUSES:
        return _STATUSES[status]
    return Reason.API_ERROR if status >= 500 else Reason.BAD_REQUEST


def _told(line: ResultLine) -> str:
    return "; ".join(line.errors) or line.text.partition("\n")[0] or line.subtype


def _resets_at(facts: StreamFacts, reason: Reason, now: datetime) -> datetime | None:
    """The used-up window's own end, when it is named and can be true."""
    limit = facts.rate_limit
    if reason is Reason.RATE_LIMITED and limit and limit.status == "rejected" and limit.resets_at:
        try:
            resets = datetime.fromtimestamp(limit.resets_at, UTC)
        except (OverflowError, ValueError, OSError):
            return None
        if now < resets <= now + _LONGEST_RESET:
            return resets
    return None
