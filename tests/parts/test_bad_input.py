"""What careless and hostile hands do to clawd, one test for each thing that once went wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clawd.pipeline import retention
from tests.whole.line import FILES, Line, open_line


@pytest.fixture
def line(home: Path, database: str, make_repo: Callable[..., Path]) -> Iterator[Line]:
    """A line over one small repository, driven by hand."""
    with open_line(home, database, {"sample": make_repo(FILES)}) as opened:
        yield opened


def test_house_keeping_drops_the_refs_of_ended_tasks_and_keeps_the_daemon(line: Line) -> None:
    # `for-each-ref` was asked for "refs/clawd/", which is no ref: the daemon died in five minutes.
    task = line.add("First")
    line.until(task, "done")
    assert line.hub_git("for-each-ref", "refs/clawd")

    line.advance(days=60)
    retention.care(line.desk, line.conninfo)

    assert line.hub_git("for-each-ref", "refs/clawd") == ""
    assert not line.desk.run_folder(line.runs(task)[0].id).exists()
    assert len(list((line.home / "backups").glob("*.dump"))) == 1


def test_house_keeping_that_fails_is_told_and_leaves_the_rest_alone(line: Line) -> None:
    (line.home / "backups").write_text("in the way")
    line.desk.layers.mkdir()

    retention.care(line.desk, line.conninfo)
    retention.care(line.desk, line.conninfo)

    told = line.rows("select body from outbox where dedupe like 'care:%%'")
    assert len(told) == 1
    assert "backup" in told[0]["body"]["text"]
