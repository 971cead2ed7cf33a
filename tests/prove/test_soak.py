"""A soak of random kills: nothing is lost, nothing lands twice, and it is soon at work again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from clawd.adapters import server
from tests.prove import ground
from tests.prove.figures import note
from tests.prove.soak import Soak, p99
from tests.whole.line import FILES, open_line

pytestmark = [pytest.mark.prove, pytest.mark.timeout(1800)]
LASTS_S = float(os.environ.get("CLAWD_TEST_SOAK_S") or 600)
SEED = int(os.environ.get("CLAWD_TEST_SEED") or 20261121)
FIRST_CLAIM_WITHIN_S = 10.0
TEAM = {
    "agents": {"dev": {"count": 4}, "qa": {"count": 3}},
    "limits": {"max_live": 9},
    "budget": {"day_usd": 100_000},
}


def test_random_kills_break_no_promise(home: Path, make_repo: Callable[..., Path]) -> None:
    own = server.ensure_running(home)
    with open_line(home, own.conninfo, {"sample": make_repo(FILES)}, TEAM) as line:
        soak = Soak(line, SEED)
        soak.run(LASTS_S, every_s=4.0 if LASTS_S > 120 else 1.5)
        found = ground.violations(line)
        states = {row["state"]: row["n"] for row in line.rows(
            "select state, count(*) as n from task group by state order by state"
        )}  # fmt: skip
        kills = sum(soak.kills.values())
        first = p99(soak.first_claims_s)
        note(
            "soak",
            f"{LASTS_S:.0f} s, seed {SEED}: {kills} kills {dict(sorted(soak.kills.items()))}, "
            f"{sum(states.values())} tasks {states}, {len(found)} violations, "
            f"restart to first claim p99 {first:.1f} s of {len(soak.first_claims_s)}",
        )
        assert found == []
        assert kills > LASTS_S / 6
        assert soak.added == sum(states.values())
        assert first < FIRST_CLAIM_WITHIN_S
