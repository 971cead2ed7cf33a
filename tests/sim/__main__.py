"""`python -m tests.sim`: many seeds, or one of them event by event."""

from __future__ import annotations

import argparse
import hashlib
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter

from tests.sim.rows import Bug, Violation
from tests.sim.world import World


@dataclass
class Found:
    """What some seeds did."""

    events: int = 0
    fewest: int = 1_000_000
    hit: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def add(self, other: Found) -> None:
        self.events += other.events
        self.fewest = min(self.fewest, other.fewest)
        self.hit.update(other.hit)
        self.struck.update(other.struck)
        self.broken += other.broken


def run_seeds(first: int, last: int) -> Found:
    """Seeds `first` to `last` - 1."""
    found = Found()
    for seed in range(first, last):
        world = World(seed)
        try:
            world.run()
        except Violation as violation:
            found.broken.append(f"seed {seed}: {violation}")
        found.events += world.events
        found.fewest = min(found.fewest, world.events)
        found.hit.update(world.promises.hit)
        found.struck.update(world.nemesis.struck)
    return found


def replay(seed: int, bugs: frozenset[Bug]) -> int:
    """One seed, event by event, and a digest to compare two replays by."""
    trace: list[str] = []
    world = World(seed, bugs, trace=trace)
    failed = ""
    try:
        world.run()
    except Violation as violation:
        failed = f"broken: {violation}"
    print("\n".join(trace))
    for fault in world.faults:
        print(f"fault {fault.at:8.2f} {fault.kind} {fault.number}")
    digest = hashlib.sha256("\n".join(trace).encode()).hexdigest()[:16]
    print(f"seed {seed}: {world.events} events, trace {digest} {failed}")
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this one")
    parser.add_argument("--seeds", type=int, default=1000, help="run so many")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--bug", type=Bug, action="append", default=[], choices=list(Bug))
    chosen = parser.parse_args()
    if chosen.seed is not None:
        return replay(chosen.seed, frozenset(chosen.bug))
    before, size = perf_counter(), max(1, chosen.seeds // (chosen.jobs * 8))
    last = chosen.first + chosen.seeds
    starts = range(chosen.first, last, size)
    found = Found()
    with ProcessPoolExecutor(chosen.jobs) as pool:
        for each in pool.map(run_seeds, starts, [min(s + size, last) for s in starts]):
            found.add(each)
    took = perf_counter() - before
    print(f"{chosen.seeds} seeds, {found.events:,} events ({found.fewest} or more a seed) in "
          f"{took:.1f} s: {found.events / took:,.0f} events/s, {len(found.hit)} transitions, "
          f"{len(found.struck)} kinds of faults, {len(found.broken)} broken")  # fmt: skip
    print("\n".join(found.broken[:20]))
    return 1 if found.broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
