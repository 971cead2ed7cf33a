"""A worker that stood still past its lease and goes on: it changes no row and moves no ref."""

from __future__ import annotations

import os
import signal

import pytest

from clawd.adapters import process
from clawd.pipeline import recover
from clawd.store import moves
from tests.prove import ground
from tests.whole.line import DEV, Line, wait_for

pytestmark = pytest.mark.prove


def _still(line: Line, number: int) -> list[int]:
    """Every process of the run: keeper, agent and its children."""
    pids = [*ground.keepers(line), *process.find_marked(line.desk.mark)]
    for pid in pids:
        os.kill(pid, number)
    return pids


def _lose(line: Line, task: int) -> None:
    """What another host's scan does once lease and grace are over."""
    with line.desk.db() as db, db.transaction():
        moves.move_task(db, task, "lose", why="its host is silent", actor="reconcile",
                        reason="lost")  # fmt: skip


def test_a_worker_stopped_past_its_lease_changes_nothing_when_it_goes_on(line: Line) -> None:
    task = line.add("Frozen", "[behave: sleep 1.5 first 1]")
    line.dev()
    stale = line.runs(task, "dev")[0]
    wait_for(lambda: ground.keepers(line))
    stopped = _still(line, signal.SIGSTOP)
    assert len(stopped) >= 2
    try:
        line.advance(minutes=30)
        _lose(line, task)
        with pytest.raises(moves.Fenced), line.desk.db() as db:
            moves.move_task(db, task, "finish", why="late", fence=stale.fence, run=stale.id)
        line.dev()
        fresh = line.runs(task, "dev")[1]
        wait_for(lambda: len(ground.keepers(line)) >= 2)
        before = _seen(line, task)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    recover.heartbeat(line.desk)
    folder = line.desk.run_folder(stale.id) / "result.json"
    wait_for(folder.exists)
    assert _seen(line, task) == before, "its mere end changes no row and moves no ref"
    line.until(task, "done", stages=(*DEV, "check", "reuse", "qa", "merge"))
    ended = {run.id: run.state for run in line.runs(task, "dev")}
    assert ended == {stale.id: "fenced", fresh.id: "completed"}
    candidates = line.rows("select run from candidate where task = %s", task)
    assert [row["run"] for row in candidates] == [fresh.id]
    assert line.hub_git("for-each-ref", "--format=%(refname)", f"refs/clawd/run/{stale.id}") == ""
    assert ground.violations(line) == []


def _seen(line: Line, task: int) -> tuple[str, ...]:
    """The task's rows and every ref of the hub."""
    row = line.rows("select state, fence, tries, candidate from task where id = %s", task)
    moved = line.rows(
        "select count(*) as n from history where kind = 'task' and subject = %s", task
    )
    return str(row), str(moved), line.hub_git("for-each-ref")
