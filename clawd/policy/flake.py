"""Tests that change their mind on the same tree: which ones, and when they become work."""

from __future__ import annotations

import re
from collections.abc import Mapping

# More flakes of one test in a week than this open a task.
FLAKES_A_WEEK = 2
_MOST_NAMES = 20
_LINES = (
    re.compile(r"^(?:FAILED|ERROR) (\S+::\S+)", re.M),  # pytest's summary
    re.compile(r"^(?:FAIL|ERROR): (\S+ \([\w.]+\))", re.M),  # unittest
    re.compile(r"^--- FAIL: (\S+)", re.M),  # go test
    re.compile(r"^test (\S+) \.\.\. FAILED", re.M),  # cargo test
    re.compile(r"^not ok \d+ - (.{1,150})$", re.M),  # TAP: node and others
)


def failing_tests(output: str) -> tuple[str, ...]:
    """The names of failed tests in a runner's output, as far as it is one of those known."""
    for pattern in _LINES:
        found = pattern.findall(output)
        if found:
            return tuple(dict.fromkeys(found))[:_MOST_NAMES]
    return ()


def due(counts: Mapping[str, int]) -> tuple[str, ...]:
    """The tests that flaked too often lately and deserve a task."""
    return tuple(name for name, count in counts.items() if count > FLAKES_A_WEEK)
