"""The simulator: a thousand seeds keep every promise, and every planted mistake is found."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, find, settings
from hypothesis import strategies as st

from clawd import machine
from tests.sim.__main__ import run_seeds
from tests.sim.faults import CHAOS_S, FAULTS, Fault
from tests.sim.rows import Bug, Violation
from tests.sim.world import World

ROOT = Path(__file__).resolve().parents[2]
SEEDS, FEWEST_EVENTS = 1000, 200

# What no seed can reach, and why.
UNREACHED = {
    ("task", "claimed", "fail"): "a run is charged only after its process started: running",
    ("task", "claimed", "give_up"): "the same",
    ("task", "review", "bounce"): "nobody does this yet: conflicts show in the train",
    ("task", "verifying", "revert"): "what landed is proven long before its revert is tested",
    ("run", "created", "execute"): "a process starts only after its brief was loaded",
    ("run", "created", "complete"): "the same",
    ("run", "created", "cancel"): "a run whose task was cancelled is fenced",
    ("run", "context_loaded", "cancel"): "the same",
    ("run", "executing", "cancel"): "the same; the gateway's own word is not simulated",
}


@pytest.fixture(scope="module")
def thousand() -> tuple[Counter[tuple[str, str, str]], Counter[str], int, list[str]]:
    """What a thousand seeds hit, and what they broke."""
    size = SEEDS // 20
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        found = list(pool.map(run_seeds, range(0, SEEDS, size), range(size, SEEDS + 1, size)))
    hit, struck, broken = Counter[tuple[str, str, str]](), Counter[str](), []
    for each in found:
        hit.update(each.hit)
        struck.update(each.struck)
        broken += each.broken
    return hit, struck, min(each.fewest for each in found), broken


def test_a_thousand_seeds_keep_every_promise(thousand) -> None:
    _, _, fewest, broken = thousand
    assert broken == []
    assert fewest >= FEWEST_EVENTS


def test_every_fault_strikes_and_every_transition_is_taken(thousand) -> None:
    hit, struck, _, _ = thousand
    every = {
        (kind, state, event)
        for kind, table in machine.TABLES.items()
        for state, events in table.items()
        for event in events
    }
    assert every - set(hit) <= set(UNREACHED), "in reach and never taken"
    assert set(hit) & set(UNREACHED) == set(), "listed as out of reach, and taken"
    assert set(struck) == set(FAULTS)


@pytest.mark.parametrize("bug", list(Bug))
def test_a_planted_mistake_is_found(bug: Bug) -> None:
    for seed in range(SEEDS):
        try:
            World(seed, frozenset({bug})).run()
        except Violation:
            return
    pytest.fail(f"{bug} broke no promise in {SEEDS} seeds")


def test_a_seed_replays_byte_for_byte() -> None:
    told = []
    for hash_seed in ("1", "77"):
        done = subprocess.run(
            [sys.executable, "-m", "tests.sim", "--seed", "7"],
            cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True, timeout=60, check=True,
        )  # fmt: skip
        told.append(done.stdout)
    assert told[0] == told[1]
    assert len(told[0].splitlines()) > FEWEST_EVENTS


def test_a_failing_list_of_faults_shrinks_to_the_one_that_matters() -> None:
    fault = st.builds(
        Fault, st.integers(1, int(CHAOS_S)), st.sampled_from(FAULTS), st.integers(1, 60)
    )
    seed = 3

    def breaks(faults: list[Fault]) -> bool:
        try:
            World(seed, frozenset({Bug.NO_CAS}), tuple(faults)).run()
        except Violation as violation:
            return violation.promise == "5 exact tips"
        return False

    least = find(
        st.lists(fault, max_size=10),
        breaks,
        settings=settings(
            max_examples=400, derandomize=True, database=None, deadline=None,
            phases=(Phase.generate, Phase.shrink), suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
    assert [each.kind for each in least] == ["main_races"]
