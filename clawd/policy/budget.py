"""How much money a run may reserve, and the sentence when it may not."""

from __future__ import annotations

from dataclasses import dataclass

MICROS = 1_000_000
# Below this a run cannot do anything useful: the first reply alone costs more.
SMALLEST_GRANT = 200_000


@dataclass(frozen=True, slots=True)
class Grant:
    """The limit of a run, or why there is none."""

    micros: int
    refusal: str = ""


# Truth table, first match wins:
#   task envelope nearly empty  -> refused, the task waits for the operator
#   day envelope nearly empty   -> refused, everything waits for tomorrow or the operator
#   else                        -> min(tier, what the task has left, what the day has left)


def grant(tier_micros: int, task_left: int | None, day_left: int) -> Grant:
    """What a run may spend; `task_left` is None for runs that belong to no task."""
    if task_left is not None and task_left < SMALLEST_GRANT:
        return Grant(0, "task envelope empty")
    if day_left < SMALLEST_GRANT:
        return Grant(0, "day envelope empty")
    lefts = [tier_micros, day_left] + ([] if task_left is None else [task_left])
    return Grant(min(lefts))


def usd(micros: int) -> str:
    """Micro-dollars as a person reads them."""
    return f"${micros / MICROS:,.2f}"
