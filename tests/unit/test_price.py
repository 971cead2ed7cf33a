"""Prices and reasons: complete tables, no free call, no rounding in the agent's favour."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawd.policy.failure import REASONS, Owner, Reason, parse_reason
from clawd.policy.price import ALIASES, PRICES, Usage, cost_micros, is_known

MILLION = Usage(input=1_000_000, output=100_000, write_5m=1_000_000, read=1_000_000)


@pytest.mark.parametrize(
    ("model", "micros"),
    [("claude-opus-5-5", 11_200_000), ("claude-sonnet-5-5", 5_600_000),
     ("claude-haiku-5-5", 1_425_000), ("claude-opus-4-8[1m]", 14_250_000),
     ("claude-sonnet-4-5-20250929", 8_550_000), ("opus", 11_200_000)],
)  # fmt: skip
def test_the_list_price_is_the_one_the_client_computes(model: str, micros: int) -> None:
    cost = cost_micros(model, MILLION)
    assert (cost.micros, cost.unknown) == (micros, False)


def test_haiku_costs_five_times_as_much_from_100k_of_prompt_on() -> None:
    at_the_edge = cost_micros("claude-haiku-5-5", Usage(input=60_000, read=40_000))
    above = cost_micros("claude-haiku-5-5", Usage(input=60_000, read=40_001))
    assert at_the_edge.micros == 6_400
    assert above.micros == 32_001


def test_an_hour_of_cache_costs_twice_the_input() -> None:
    assert cost_micros("claude-opus-5-5", Usage(write_1h=1_000_000)).micros == 8_000_000


def test_a_price_counts_from_its_day() -> None:
    read = Usage(read=1_000_000)
    assert cost_micros("claude-sonnet-5-5", read, date(2026, 10, 6)).micros == 200_000
    assert cost_micros("claude-sonnet-5-5", read, date(2026, 10, 7)).micros == 100_000
    assert cost_micros("claude-haiku-5-5", read, date(2020, 1, 1)).micros > 0


@pytest.mark.parametrize(
    "model", ["claude-opus-6", "claude-opus-5-6", "claude-opus-4-1", "claude-opus-55", "gpt", ""]
)
def test_an_unknown_model_costs_what_the_dearest_costs(model: str) -> None:
    cost = cost_micros(model, MILLION)
    assert cost.unknown
    assert cost.micros == max(cost_micros(name, MILLION).micros for name in PRICES)
    assert not is_known(model)


def test_every_alias_leads_to_a_price() -> None:
    assert all(is_known(name) for name in [*ALIASES, *PRICES])


@given(st.sampled_from(sorted(PRICES)), st.integers(0, 10**7), st.integers(0, 10**6))
def test_no_call_with_a_token_is_free_and_more_never_costs_less(
    model: str, prompt: int, output: int
) -> None:
    cost = cost_micros(model, Usage(input=prompt, output=output)).micros
    assert (cost > 0) == (prompt + output > 0)
    assert cost <= cost_micros(model, Usage(input=prompt + 1, output=output)).micros


def test_every_reason_says_whose_turn_it_is_and_what_to_do() -> None:
    assert set(REASONS) == set(Reason)
    for info in REASONS.values():
        assert info.owner in Owner
        assert info.remedy.endswith(".")


def test_only_an_agents_failure_is_charged() -> None:
    for reason, info in REASONS.items():
        if info.charged:
            assert info.owner is Owner.AGENT, reason
            assert info.retryable, reason


def test_an_unknown_reason_is_refused() -> None:
    assert parse_reason("check_red") is Reason.CHECK_RED
    with pytest.raises(ValueError, match="nonsense"):
        parse_reason("nonsense")
