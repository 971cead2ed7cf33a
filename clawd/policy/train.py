"""Which combined trees to test next, what may land and what goes back: the prefix train."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

# A probe is a row of cars on top of main, in this order. The tree that is tested is the tree
# that lands, so a verdict on one probe says nothing about another.
Probe = tuple[int, ...]
Clash = tuple[int, int]
T = TypeVar("T")

# Believed of a project nobody has seen yet.
FIRST_RATE = 0.15
# What one more judged car weighs in the failure rate: about the last thirty count.
WEIGHT = 0.03
# One slot tests cars together only while that is sure to beat one by one.
_SERIAL_BATCH, _SERIAL_BACKLOG, _SERIAL_RATE = 4, 3, 0.10


class Seen(StrEnum):
    """What is known of a probe; red means red twice: the retry of a red run is the caller's."""

    RUNNING = "running"
    GREEN = "green"
    RED = "red"


@dataclass(frozen=True, slots=True)
class Step:
    """What the train does now: land a probe or send a car back; end and start tests."""

    land: Probe = ()
    back: int | None = None
    test: tuple[Probe, ...] = ()
    abort: tuple[Probe, ...] = ()


# Truth table, first match wins:
#   a probe of waiting cars is green  -> land the longest; abort tests that do not build on it
#   the first car alone is red        -> it goes back; abort every test it is part of
#   else                              -> the tests the line below asks for, as slots allow
#
# The line is the queue without cars that clash with one before them. Walking it:
#   nothing red on it                 -> new ends, each `depth` cars behind the longest test
#   a red end, one car in doubt       -> step over that car and walk on: it may be the culprit,
#                                        those behind it must not wait (nearest non-failing item)
#   a red end, several cars in doubt  -> ends inside the doubt, evenly, so that one more test time
#                                        finds the culprit; longer tests could only be red too
# In doubt are the cars between the longest running test before the red end and that end. When
# what is before the last car in doubt turns green it lands, the verdict is carried over by
# `rebase`, and the last car is the culprit without another test.


def next_step(
    queue: Sequence[int],
    seen: Mapping[Probe, Seen],
    slots: int,
    failure_rate: float,
    clashes: Collection[Clash] = (),
) -> Step:
    """The train's next step, to be asked again after each one until it says nothing new.

    `seen` holds what is known on top of main as it is now. After `land`: one merge of the whole
    probe, then `rebase` what is known; if main moved otherwise, nothing is known any more. After
    `back`: the car leaves the queue. What `abort` names is stopped and forgotten. `clashes` are
    pairs of cars that do not merge with each other: one waits until the other has landed, then
    it conflicts with main and is the caller's to send back.
    """
    waiting = set(queue)
    running = [probe for probe, verdict in seen.items() if verdict is Seen.RUNNING]
    green = [p for p, verdict in seen.items() if verdict is Seen.GREEN and waiting.issuperset(p)]
    if green:
        land = max(green, key=len)
        return Step(land=land, abort=tuple(p for p in running if p[: len(land)] != land))
    if queue and seen.get((queue[0],)) is Seen.RED:
        return Step(back=queue[0], abort=tuple(p for p in running if queue[0] in p))
    line = _Line(_without_clashes(queue, clashes), seen)
    line.walk()
    abort = tuple(p for p in running if p not in line.useful)
    free = slots - len(running) + len(abort)
    return Step(test=line.tests(free, depth(slots, failure_rate, len(queue))), abort=abort)


@dataclass(slots=True)
class _Line:
    """The cars in the order in which they would land, and the doubt in it."""

    cars: Probe
    seen: Mapping[Probe, Seen]
    useful: set[Probe] = field(default_factory=set)
    under_test: int = 0
    red_end: int | None = None

    def walk(self) -> None:
        """Steps over every lone suspect; stops at the end, or at a doubt of several cars."""
        while self._look() and self.red_end == self.under_test + 1:
            self.cars = self.cars[: self.under_test] + self.cars[self.red_end :]

    def _look(self) -> bool:
        """Where the first red end is and how far running tests reach before it."""
        self.under_test, self.red_end = 0, None
        for end in range(1, len(self.cars) + 1):
            verdict = self.seen.get(self.cars[:end])
            if verdict is Seen.RED:
                self.red_end = end
                return True
            if verdict is Seen.RUNNING:
                self.under_test = end
                self.useful.add(self.cars[:end])
        return False

    def tests(self, free: int, depth: int) -> tuple[Probe, ...]:
        """The next probes worth a slot."""
        if free < 1:
            return ()
        if self.red_end is not None:
            ends = _spread(self.under_test, self.red_end, free)
        else:
            last = min(len(self.cars), self.under_test + free * depth)
            ends = [*range(self.under_test + depth, last, depth), last]
            ends = [end for end in ends if end > self.under_test]
        return tuple(self.cars[:end] for end in ends)


def _spread(low: int, high: int, count: int) -> list[int]:
    """At most `count` places strictly between the two, evenly."""
    inside = high - low - 1
    count = min(count, inside)
    return [low + (number * (inside + 1)) // (count + 1) for number in range(1, count + 1)]


def _without_clashes(queue: Sequence[int], clashes: Collection[Clash]) -> Probe:
    if not clashes:
        return tuple(queue)
    line: list[int] = []
    for car in queue:
        if not any((car, other) in clashes or (other, car) in clashes for other in line):
            line.append(car)
    return tuple(line)


def depth(slots: int, failure_rate: float, backlog: int) -> int:
    """How many cars lie between two ends: what lands most in a test time.

    Never more than slots + 1, so that one more test time finds a culprit, and never so many that
    a slot stays idle. One slot: up to four together while failures are rare, else one by one.
    """
    if slots <= 1:
        together = backlog >= _SERIAL_BACKLOG and failure_rate <= _SERIAL_RATE
        return min(_SERIAL_BATCH, backlog) if together else 1
    deepest = max(1, min(slots + 1, backlog // slots))
    return max(range(1, deepest + 1), key=lambda d: (_yield(slots, failure_rate, d), -d))


def _yield(slots: int, rate: float, depth: int) -> float:
    """Cars expected to land in one test time with every slot busy.

    The first test time lands all up to the first red end, a second one what is good inside it.
    """
    good = 1.0 - rate
    landed = sum(good**car for car in range(1, slots * depth + 1))
    all_green = good ** (slots * depth)
    return landed / (1.0 if depth == 1 else 2.0 - all_green)


def estimate(rate: float, landed: int, red: int) -> float:
    """The failure rate after so many more cars landed and so many were found red."""
    for _ in range(red):
        rate += WEIGHT * (1.0 - rate)
    return float(rate * (1.0 - WEIGHT) ** landed)


def rebase(probes: Mapping[Probe, T], landed: Probe) -> dict[Probe, T]:
    """What is known on top of the new main: the rest of every probe that began with the landed."""
    size = len(landed)
    return {p[size:]: known for p, known in probes.items() if p[:size] == landed and len(p) > size}


def without(probes: Mapping[Probe, T], car: int) -> dict[Probe, T]:
    """What is known when a car has left the queue."""
    return {probe: known for probe, known in probes.items() if car not in probe}


def reorder(
    queue: Sequence[int], seen: Mapping[Probe, Seen], urgency: Mapping[int, int]
) -> tuple[int, ...]:
    """The queue with its untested tail by urgency, the smaller the sooner; ties keep their order.

    What has been under test keeps its place: a jump in front of it would void those runs.
    """
    known = {car for probe in seen for car in probe}
    head = max((place + 1 for place, car in enumerate(queue) if car in known), default=0)
    tail = sorted(queue[head:], key=lambda car: urgency.get(car, 0))
    return (*queue[:head], *tail)
