"""kill -9 at every named crash point: nothing is lost, nothing lands twice, nothing is stuck."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from clawd.adapters import crash
from tests.prove.deaths import die_at
from tests.prove.scenes import scene_of

pytestmark = pytest.mark.prove


@pytest.mark.parametrize("point", crash.POINTS)
def test_a_death_there_loses_nothing(
    point: str, home: Path, database: str, make_repo: Callable[..., Path]
) -> None:
    die_at(point, scene_of(point), home, database, make_repo)


# The second car of a landing, the second verdict of a task, the second start of a run.
@pytest.mark.parametrize(
    ("point", "nth"),
    [
        ("land.mid", 2),
        ("land.told", 2),
        ("verdict.after", 2),
        ("snapshot.mid", 3),
        ("spawn.mid", 4),
    ],
)
def test_a_later_death_there_loses_nothing(
    point: str, nth: int, home: Path, database: str, make_repo: Callable[..., Path]
) -> None:
    die_at(point, scene_of(point), home, database, make_repo, nth)
