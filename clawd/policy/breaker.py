"""Circuit breakers: what keeps failing rests, is tried once, and comes back or rests longer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from clawd.policy.failure import REASONS, Owner, Reason

OPENS_AFTER = {"agent": 4, "model": 3, "project": 5}
FIRST_REST, LONGEST_REST = timedelta(minutes=5), timedelta(hours=2)
# A probe that says nothing for so long is not waited for: its run may have been lost.
PROBE_WITHIN = timedelta(minutes=30)
_MODEL_REASONS = {Reason.MODEL_NOT_FOUND, Reason.OVERLOADED, Reason.REFUSED_BY_MODEL}


class Standing(StrEnum):
    """How a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class Breaker:
    """One breaker: what has failed how often in a row, and when it may be tried again."""

    state: Standing = Standing.CLOSED
    fails: int = 0
    probe_at: datetime | None = None


# Truth table of one outcome:
#   success                          -> closed, nothing counted
#   failure, closed, below the limit -> closed, one more counted
#   failure, closed, at the limit    -> open for the first rest
#   failure, half open (the probe)   -> open, twice as long, two hours at most
#   nothing said, half open          -> open, and the next run is the probe
#   failure, open                    -> as it was: it was under way when the breaker opened


def after(scope: str, before: Breaker, *, ok: bool | None, now: datetime) -> Breaker:
    """The breaker after one more outcome; None is one that says nothing about it."""
    if ok:
        return Breaker()
    if ok is None:
        asked = before.state is Standing.HALF_OPEN
        return Breaker(Standing.OPEN, before.fails, now) if asked else before
    fails = before.fails + 1
    if before.state is Standing.OPEN or (
        before.state is Standing.CLOSED and fails < OPENS_AFTER[scope]
    ):
        return Breaker(before.state, fails, before.probe_at)
    over = max(0, fails - OPENS_AFTER[scope])
    rest = min(FIRST_REST * (1 << min(over, 8)), LONGEST_REST)
    return Breaker(Standing.OPEN, fails, now + rest)


def may_try(breaker: Breaker, now: datetime) -> bool:
    """Whether a run may start: closed, or open long enough for its one probe."""
    if breaker.state is Standing.CLOSED:
        return True
    return breaker.probe_at is None or now >= breaker.probe_at


def counts_for(scope: str, reason: Reason | None) -> bool | None:
    """What an outcome says about an agent, a model or a project: ok, failed, or nothing."""
    if reason is None:
        return True
    if scope == "model":
        return False if reason in _MODEL_REASONS else None
    if REASONS[reason].charged:
        return False
    if scope == "project" and REASONS[reason].owner is Owner.OPERATOR and REASONS[reason].retryable:
        return False
    return None
