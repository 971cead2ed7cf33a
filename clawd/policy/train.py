"""Which combined trees to test next, what may land and what goes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

# A probe is a prefix of the queue: main plus these cars, in this order. The tree that is
# tested is the tree that lands, so a verdict on one prefix says nothing about another.
Probe = tuple[int, ...]


class Seen(StrEnum):
    """What is known of a probe."""

    RUNNING = "running"
    GREEN = "green"
    RED = "red"


@dataclass(frozen=True, slots=True)
class Step:
    """What the train does now: land a green prefix, send a car back, test more prefixes."""

    land: Probe = ()
    back: int | None = None
    test: tuple[Probe, ...] = ()


# Serial train, first match wins:
#   no car                  -> nothing
#   first car alone green   -> land it
#   first car alone red     -> it goes back
#   first car running       -> nothing
#   else                    -> test the first car


def next_step(
    queue: Sequence[int],
    seen: Mapping[Probe, Seen],
    slots: int,
    failure_rate: float,
) -> Step:
    """The train's next step; `slots` and `failure_rate` are for deeper trains than this one."""
    del slots, failure_rate
    if not queue:
        return Step()
    first = (queue[0],)
    verdict = seen.get(first)
    if verdict is Seen.GREEN:
        return Step(land=first)
    if verdict is Seen.RED:
        return Step(back=queue[0])
    return Step() if verdict is Seen.RUNNING else Step(test=(first,))
