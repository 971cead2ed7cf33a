"""`python -m tests.sim`: many seeds, or one of them event by event."""

from __future__ import annotations

import argparse
import hashlib
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from time import perf_counter

from tests.sim.rows import Bug, Violation
from tests.sim.world import World


def run_seeds(first: int, last: int) -> tuple[int, Counter[tuple[str, str, str]], list[str]]:
    """Events, transitions hit and what was broken, of seeds `first` to `last` - 1."""
    events, hit, broken = 0, Counter[tuple[str, str, str]](), []
    for seed in range(first, last):
        world = World(seed)
        try:
            world.run()
        except Violation as violation:
            broken.append(f"seed {seed}: {violation}")
        events += world.events
        hit.update(world.promises.hit)
    return events, hit, broken


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
    events, hit, broken = 0, Counter[tuple[str, str, str]](), []
    with ProcessPoolExecutor(chosen.jobs) as pool:
        for found in pool.map(run_seeds, starts, [min(s + size, last) for s in starts]):
            events += found[0]
            hit.update(found[1])
            broken += found[2]
    took = perf_counter() - before
    print(f"{chosen.seeds} seeds, {events} events ({events // chosen.seeds} a seed) in {took:.1f} s: "
          f"{events / took:,.0f} events/s, {len(hit)} transitions, {len(broken)} broken")  # fmt: skip
    print("\n".join(broken[:20]))
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
