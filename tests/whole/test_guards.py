"""Guards that nothing else leans on: each is shown to hold by trying to go around it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest

from clawd import steer
from clawd.pipeline import claim, landing
from clawd.store import moves
from tests.whole.line import DEV, REVIEW, Line


def _claim_for_qa(line: Line, agent: str, task: int) -> Any:
    with line.desk.db() as db:
        row = db.execute("select id from agent where name = %s", (agent,)).fetchone()
        assert row is not None
        wanted = {"limits": {"day": claim.day_of(line.desk.now())}}
        return moves.claim(db, moves.Claim(
            (task,), "qa", row["id"], line.desk.host, timedelta(minutes=1), wanted, "by hand"
        ))  # fmt: skip


def test_a_task_under_review_is_claimed_once(line: Line) -> None:
    task = line.add("Wanted")
    line.until(task, "review", stages=DEV)
    assert _claim_for_qa(line, "qa-1", task) is not None
    assert _claim_for_qa(line, "qa-2", task) is None


def test_no_row_of_the_lineage_is_changed_or_deleted(line: Line) -> None:
    line.add("Written")
    for query in ("update lineage set why = 'nothing happened'", "delete from lineage"):
        with line.desk.db() as db, pytest.raises(psycopg.Error, match="append-only"):
            db.execute(query)


def test_a_tip_with_another_tree_than_the_tested_is_noticed(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = line.add("Exact")
    line.until(task, "merging", stages=(*DEV, *REVIEW))
    before = line.main()
    other = line.desk.hub(line.project()).tree_of(before)
    intend = landing.landings.intend

    def of_another_tree(db: Any, **row: Any) -> Any:
        return intend(db, **{**row, "tree": other})

    monkeypatch.setattr(landing.landings, "intend", of_another_tree)
    with pytest.raises(AssertionError, match="not the tested one"):
        line.merge()


def test_a_task_cancelled_in_the_last_moment_does_not_land(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = line.add("Too late")
    line.until(task, "merging", stages=(*DEV, *REVIEW))
    before, land = line.main(), landing.land

    def cancelled_and_land(*arguments: Any) -> bool:
        with line.desk.db() as db:
            steer.cancel_task(db, task)
        return land(*arguments)

    monkeypatch.setattr(landing, "land", cancelled_and_land)
    line.merge()
    assert line.main() == before
    assert line.task(task).state == "cancelled"
    assert line.rows("select from landing") == []
