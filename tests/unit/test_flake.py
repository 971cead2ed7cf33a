"""Flaky tests: their names in the runners' outputs, and when they become work."""

from __future__ import annotations

import pytest

from clawd.policy.flake import FLAKES_A_WEEK, due, failing_tests


@pytest.mark.parametrize(
    ("output", "names"),
    [
        ("FAILED tests/test_a.py::test_x - boom\nERROR tests/b.py::t\n1 failed",
         ("tests/test_a.py::test_x", "tests/b.py::t")),
        ("FAIL: test_x (tests.test_a.A.test_x)\n---\nERROR: test_y (tests.test_a.A.test_y)",
         ("test_x (tests.test_a.A.test_x)", "test_y (tests.test_a.A.test_y)")),
        ("--- FAIL: TestX (0.00s)\nFAIL", ("TestX",)),
        ("test a::b ... FAILED\ntest c ... ok", ("a::b",)),
        ("ok 1 - fine\nnot ok 2 - adds up", ("adds up",)),
        ("make: *** [test] Error 1", ()),
        ("FAILED a::b\n" * 3, ("a::b",)),
    ],
)  # fmt: skip
def test_failed_tests_are_named_as_their_runner_names_them(
    output: str, names: tuple[str, ...]
) -> None:
    assert failing_tests(output) == names


def test_a_test_becomes_work_after_more_than_two_flakes_a_week() -> None:
    assert due({"a": FLAKES_A_WEEK, "b": FLAKES_A_WEEK + 1}) == ("b",)
