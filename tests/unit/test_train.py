"""The train: what it tests, lands and sends back, as a table and as properties."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawd.policy import train
from clawd.policy.train import Probe, Seen, Step, next_step

G, R, W = Seen.GREEN, Seen.RED, Seen.RUNNING
RARE, OFTEN = 0.02, 0.4
ROOT = Path(__file__).resolve().parents[2]

# queue, seen, slots, failure rate -> step
TABLE: list[tuple[str, list[int], dict[Probe, Seen], int, float, Step]] = [
    ("nobody waits", [], {}, 4, RARE, Step()),
    ("a test of cars that left is ended", [], {(1,): W}, 4, RARE, Step(abort=((1,),))),
    ("one slot, one car", [1], {}, 1, RARE, Step(test=((1,),))),
    ("one slot, two cars go one by one", [1, 2], {}, 1, RARE, Step(test=((1,),))),
    ("one slot, a backlog goes together", [1, 2, 3], {}, 1, RARE, Step(test=((1, 2, 3),))),
    ("four together at most", [1, 2, 3, 4, 5], {}, 1, RARE, Step(test=((1, 2, 3, 4),))),
    ("one by one while many fail", [1, 2, 3, 4, 5], {}, 1, OFTEN, Step(test=((1,),))),
    ("a red batch is cut in the middle", [1, 2, 3, 4], {(1, 2, 3, 4): R}, 1, RARE,
     Step(test=((1, 2),))),
    ("its lower half too", [1, 2, 3, 4], {(1, 2, 3, 4): R, (1, 2): R}, 1, RARE,
     Step(test=((1,),))),
    ("no free slot, nothing new", [1, 2, 3], {(1,): W}, 1, RARE, Step()),
    ("every prefix while many fail", [1, 2, 3], {}, 2, OFTEN, Step(test=((1,), (1, 2)))),
    ("deep while few fail", list(range(1, 9)), {}, 2, RARE,
     Step(test=((1, 2, 3), (1, 2, 3, 4, 5, 6)))),
    ("a shallow backlog fills the slots", [1, 2, 3], {}, 2, RARE, Step(test=((1,), (1, 2)))),
    ("the longest green lands", [1, 2, 3], {(1,): G, (1, 2): G}, 2, RARE, Step(land=(1, 2))),
    ("green lands though a shorter one runs", [1, 2], {(1,): W, (1, 2): G}, 2, RARE,
     Step(land=(1, 2), abort=((1,),))),
    ("what builds on the landed goes on", [1, 2, 3], {(1,): G, (1, 2): W}, 2, OFTEN,
     Step(land=(1,))),
    ("green with a car that left counts for nothing", [2], {(1, 2): G}, 1, RARE,
     Step(test=((2,),))),
    ("a lone red first car goes back", [1, 2], {(1,): R, (1, 2): W}, 2, RARE,
     Step(back=1, abort=((1, 2),))),
    ("a green tip beats a red one inside it", [1, 2], {(1,): R, (1, 2): G}, 2, RARE,
     Step(land=(1, 2))),
    ("a red end ends what is longer", [1, 2, 3], {(1,): W, (1, 2): R, (1, 2, 3): W}, 3, OFTEN,
     Step(test=((1, 3),), abort=((1, 2, 3),))),
    ("a suspect is stepped over", [1, 2, 3, 4], {(1,): W, (1, 2): R}, 3, OFTEN,
     Step(test=((1, 3), (1, 3, 4)))),
    ("two suspects are stepped over", [1, 2, 3, 4], {(1,): W, (1, 2): R, (1, 3): R}, 3, OFTEN,
     Step(test=((1, 4),))),
    ("a doubt of several is looked into", [1, 2, 3, 4, 5], {(1, 2, 3, 4): R}, 4, RARE,
     Step(test=((1,), (1, 2), (1, 2, 3)))),
    ("only behind what runs before it", [1, 2, 3, 4, 5], {(1, 2): W, (1, 2, 3, 4): R}, 4, RARE,
     Step(test=((1, 2, 3),))),
]  # fmt: skip


@pytest.mark.parametrize(
    ("queue", "seen", "slots", "rate", "wanted"),
    [row[1:] for row in TABLE],
    ids=[row[0] for row in TABLE],
)
def test_the_truth_table(queue, seen, slots, rate, wanted) -> None:
    assert next_step(queue, seen, slots, rate) == wanted


def test_cars_that_clash_are_not_tested_together() -> None:
    step = next_step([1, 2, 3], {}, 2, OFTEN, clashes={(2, 1)})
    assert step.test == ((1,), (1, 3))


def test_a_lone_red_behind_a_green_prefix_is_the_culprit_without_another_test() -> None:
    seen = {(1, 2, 3, 4): R, (1, 2, 3): G}
    step = next_step([1, 2, 3, 4, 5], seen, 4, RARE)
    assert step.land == (1, 2, 3)
    assert next_step([4, 5], train.rebase(seen, step.land), 4, RARE).back == 4


def test_the_deeper_the_rarer_failures_are() -> None:
    depths = [train.depth(4, rate, 100) for rate in (0.01, 0.05, 0.15, 0.3, 0.5)]
    assert depths == sorted(depths, reverse=True)
    assert depths[0] == 5
    assert depths[-1] == 1


@given(st.integers(1, 12), st.floats(0, 1), st.integers(0, 200))
def test_depth_stays_within_its_bounds(slots: int, rate: float, backlog: int) -> None:
    depth = train.depth(slots, rate, backlog)
    assert depth >= 1
    assert slots == 1 or depth <= max(1, min(slots + 1, backlog // slots))


def test_the_estimate_follows_what_happens() -> None:
    rate = train.FIRST_RATE
    for _ in range(40):
        rate = train.estimate(rate, landed=19, red=1)
    assert 0.03 < rate < 0.08
    assert train.estimate(rate, 0, 0) == rate
    assert train.estimate(rate, 0, 1) > rate > train.estimate(rate, 1, 0)


@given(st.floats(0, 1), st.integers(0, 50), st.integers(0, 50))
def test_the_estimate_stays_a_share(rate: float, landed: int, red: int) -> None:
    assert 0 <= train.estimate(rate, landed, red) <= 1


@given(
    st.lists(st.integers(1, 9), unique=True),
    st.integers(0, 9),
    st.dictionaries(st.integers(1, 9), st.integers(0, 3)),
)
def test_priorities_touch_only_the_untested_tail(
    queue: list[int], under_test: int, urgency: dict[int, int]
) -> None:
    probe = tuple(queue[:under_test])
    seen = {probe: W} if probe else {}
    ordered = train.reorder(queue, seen, urgency)
    assert sorted(ordered) == sorted(queue)
    assert ordered[: len(probe)] == probe
    tail = [urgency.get(car, 0) for car in ordered[len(probe) :]]
    assert tail == sorted(tail)


@dataclass
class World:
    """A queue with known truth, driven by the policy; tests end in any order."""

    cars: list[int]
    bad: set[int]
    pairs: set[tuple[int, int]]
    slots: int
    rate: float
    seen: dict[Probe, Seen] = field(default_factory=dict)
    main: list[int] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    runs: int = 0

    def is_red(self, cars: tuple[int, ...]) -> bool:
        on = {*self.main, *cars}
        return bool(on & self.bad) or any(on.issuperset(pair) for pair in self.pairs)

    def finish(self, choice: int) -> None:
        running = [p for p, verdict in self.seen.items() if verdict is W]
        probe = running[choice % len(running)]
        self.seen[probe] = R if self.is_red(probe) else G

    def step(self) -> bool:
        """Applies one step; whether there was anything to do."""
        step = next_step(self.cars, self.seen, self.slots, self.rate)
        for probe in step.abort:
            assert self.seen.pop(probe) is W
        for probe in step.test:
            assert probe not in self.seen
            assert len(set(probe)) == len(probe)
            self.seen[probe] = W
            self.runs += 1
        assert sum(v is W for v in self.seen.values()) <= self.slots
        if step.land:
            assert self.seen[step.land] is G
            assert not self.is_red(step.land)
            self._drop(step.land)
            self.main += step.land
            self.seen = train.rebase(self.seen, step.land)
            self.rate = train.estimate(self.rate, len(step.land), 0)
        elif step.back is not None:
            assert self.is_red((step.back,))
            self._drop((step.back,))
            self.seen = train.without(self.seen, step.back)
            self.rate = train.estimate(self.rate, 0, 1)
        return step != Step()

    def _drop(self, cars: tuple[int, ...]) -> None:
        for car in cars:
            self.cars.remove(car)
            self.ended.append(car)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    cars = list(range(draw(st.integers(1, 14))))
    car = st.sampled_from(cars)
    return World(
        cars=cars,
        bad=draw(st.sets(car, max_size=5)),
        pairs=draw(st.sets(st.tuples(car, car).filter(lambda p: p[0] < p[1]), max_size=3)),
        slots=draw(st.integers(1, 6)),
        rate=draw(st.sampled_from([0.0, 0.05, 0.1, 0.2, 0.5])),
    )


@settings(max_examples=300, deadline=None)
@given(worlds(), st.data())
def test_no_bad_change_lands_and_each_ends_once(world: World, data: st.DataObject) -> None:
    everyone = sorted(world.cars)
    for _ in range(40 * len(everyone) + 10):
        if world.step():
            continue
        if not world.cars:
            break
        assert W in world.seen.values(), "cars wait and nothing is under test"
        world.finish(data.draw(st.integers(0, 5)))
    assert world.cars == []
    assert sorted(world.ended) == everyone
    assert not world.is_red(())


@settings(max_examples=150, deadline=None)
@given(worlds(), st.data())
def test_main_moved_by_somebody_else_only_costs_runs(world: World, data: st.DataObject) -> None:
    moves = 2
    for _ in range(60 * len(world.cars) + 60):
        if moves and data.draw(st.integers(0, 9)) == 0:
            world.seen, moves = {}, moves - 1
        if not world.step() and world.cars:
            world.finish(data.draw(st.integers(0, 5)))
    assert world.cars == []


@settings(max_examples=150, deadline=None)
@given(worlds(), st.data())
def test_a_car_may_leave_at_any_time(world: World, data: st.DataObject) -> None:
    world.pairs = set()
    for _ in range(60 * len(world.cars) + 60):
        if world.cars and data.draw(st.integers(0, 9)) == 0:
            car = data.draw(st.sampled_from(world.cars))
            world.cars.remove(car)
        if not world.step() and world.cars:
            world.finish(data.draw(st.integers(0, 5)))
    assert world.cars == []
    assert not world.is_red(())


def test_the_bench_keeps_its_bars() -> None:
    told = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "train"), "--changes", "1500", "--strict"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stdout + told.stderr
    assert "red tips: 0" in told.stdout
