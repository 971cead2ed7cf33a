"""The four tiers: what one run of an agent may use and touch, and how an agent rises."""

# ruff: noqa: RUF009 - setting() is dataclasses.field() with its documentation
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from clawd.policy.setting import setting

DEMOTE_AFTER = 3


class TierName(StrEnum):
    """How far an agent is trusted in a project; the order of the members is the ladder."""

    INTERN = "intern"
    JUNIOR = "junior"
    SENIOR = "senior"
    PRINCIPAL = "principal"


class Protected(StrEnum):
    """What happens when a run changes protected files that exist at its base."""

    HOLD = "hold"
    LISTED = "listed"
    LISTED_HOLD_DEPENDENCIES = "listed_hold_dependencies"


@dataclass(frozen=True, slots=True)
class Tier:
    """What one run may use at a tier."""

    name: TierName = TierName.INTERN
    turns: int = setting(60, "Replies of the model in one run.", least=1, most=1000)
    minutes: int = setting(30, "Wall time of one run.", unit="minutes", least=1, most=600)
    usd_micros: int = setting(
        2_000_000,
        "List price of one run.",
        unit="usd",
        name="usd",
        least=0.05,
        most=1000,
    )
    diff_lines: int = setting(300, "Changed lines a candidate may have.", least=1, most=1_000_000)
    protected: Protected = setting(
        Protected.HOLD,
        "Changes to existing tests, CI, dependencies and agents' config: `hold` for you, allow "
        "when the contract lists them, or the same with dependencies held. Not applied yet.",
    )
    promote_after: int = setting(
        0, "Consecutive landings before the next tier; 0 is never. Not applied yet.", least=0
    )


DEFAULT_TIERS: Mapping[TierName, Tier] = MappingProxyType(
    {
        tier.name: tier
        for tier in (
            Tier(TierName.INTERN, 60, 30, 2_000_000, 300, Protected.HOLD, 5),
            Tier(TierName.JUNIOR, 80, 40, 3_000_000, 800, Protected.HOLD, 8),
            Tier(TierName.SENIOR, 120, 60, 5_000_000, 2000, Protected.LISTED, 13),
            Tier(
                TierName.PRINCIPAL, 160, 90, 8_000_000, 5000, Protected.LISTED_HOLD_DEPENDENCIES, 0
            ),
        )
    }
)


def run_minutes(tier: Tier, size_minutes: int) -> int:
    """The wall time of a run: the tier's, and never more than twice the planned size."""
    return min(tier.minutes, 2 * size_minutes) if size_minutes > 0 else tier.minutes


def next_tier(name: TierName) -> TierName:
    """One step up the ladder; the top stays the top."""
    ladder = list(TierName)
    return ladder[min(ladder.index(name) + 1, len(ladder) - 1)]


def previous_tier(name: TierName) -> TierName:
    """One step down the ladder; the bottom stays the bottom."""
    ladder = list(TierName)
    return ladder[max(ladder.index(name) - 1, 0)]
