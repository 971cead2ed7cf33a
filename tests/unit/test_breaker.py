"""Circuit breakers: what opens them, what a probe decides, what counts for whom."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from clawd.policy import breaker
from clawd.policy.breaker import (
    FIRST_REST,
    LONGEST_REST,
    OPENS_AFTER,
    PROBE_WITHIN,
    Breaker,
    Standing,
)
from clawd.policy.failure import Reason

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def failed(scope: str, times: int, before: Breaker | None = None) -> Breaker:
    found = before or Breaker()
    for _ in range(times):
        found = breaker.after(scope, found, ok=False, now=NOW)
    return found


@pytest.mark.parametrize("scope", sorted(OPENS_AFTER))
def test_it_opens_at_its_limit_and_not_before(scope: str) -> None:
    below = failed(scope, OPENS_AFTER[scope] - 1)
    assert below.state is Standing.CLOSED
    opened = breaker.after(scope, below, ok=False, now=NOW)
    assert opened == Breaker(Standing.OPEN, OPENS_AFTER[scope], NOW + FIRST_REST)


def test_a_success_forgets_everything() -> None:
    assert breaker.after("agent", failed("agent", 3), ok=True, now=NOW) == Breaker()


def test_an_open_breaker_lets_nothing_through_before_its_rest_is_over() -> None:
    opened = failed("model", OPENS_AFTER["model"])
    assert not breaker.may_try(opened, NOW)
    assert breaker.may_try(opened, NOW + FIRST_REST)


def test_half_open_lets_nothing_more_through_while_its_probe_may_still_answer() -> None:
    probing = Breaker(Standing.HALF_OPEN, 3, NOW + PROBE_WITHIN)
    assert not breaker.may_try(probing, NOW + PROBE_WITHIN - timedelta(seconds=1))


def test_a_probe_that_was_lost_or_said_nothing_does_not_close_the_way_for_ever() -> None:
    probing = Breaker(Standing.HALF_OPEN, 3, NOW + PROBE_WITHIN)
    assert breaker.may_try(probing, NOW + PROBE_WITHIN)
    said_nothing = breaker.after("agent", probing, ok=None, now=NOW)
    assert said_nothing == Breaker(Standing.OPEN, 3, NOW)
    assert breaker.may_try(said_nothing, NOW)
    resting = failed("agent", OPENS_AFTER["agent"])
    assert breaker.after("agent", resting, ok=None, now=NOW) == resting


def test_a_failed_probe_rests_twice_as_long_but_never_for_ever() -> None:
    probing = Breaker(Standing.HALF_OPEN, OPENS_AFTER["model"], NOW)
    again = breaker.after("model", probing, ok=False, now=NOW)
    assert again.probe_at == NOW + 2 * FIRST_REST
    old = Breaker(Standing.HALF_OPEN, 500, NOW)
    assert breaker.after("model", old, ok=False, now=NOW).probe_at == NOW + LONGEST_REST


def test_what_was_under_way_when_it_opened_does_not_lengthen_the_rest() -> None:
    opened = failed("agent", OPENS_AFTER["agent"])
    assert breaker.after("agent", opened, ok=False, now=NOW).probe_at == opened.probe_at


@pytest.mark.parametrize(
    ("scope", "reason", "answer"),
    [
        ("agent", None, True),
        ("agent", Reason.CRASHED, False),
        ("agent", Reason.RATE_LIMITED, None),
        ("agent", Reason.QUESTION, None),
        ("model", Reason.OVERLOADED, False),
        ("model", Reason.CRASHED, None),
        ("project", Reason.CAGE_FAILED, False),
        ("project", Reason.RATE_LIMITED, None),
    ],
)
def test_an_outcome_counts_only_for_whom_it_says_something(
    scope: str, reason: Reason | None, answer: bool | None
) -> None:
    assert breaker.counts_for(scope, reason) is answer
