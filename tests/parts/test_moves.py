"""The moves against a real database: what is legal happens whole, what is not leaves no trace."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from clawd import machine
from clawd.model import Contract
from clawd.store import agents, landings, ledger, lineage, moves, runs, tasks
from clawd.store.rows import Db
from tests.parts.chain_ground import (
    EVENTS,
    Shadow,
    assert_history_replays,
    claim,
    way,
    written,
)
from tests.parts.steer_ground import HOST, MAIN, NEXT, TREE, World, make_world


@pytest.fixture
def world(db: Db, tmp_path: Path) -> World:
    return make_world(db, tmp_path)


@pytest.mark.parametrize("state", machine.TASK)
def test_every_event_in_a_state_moves_as_the_table_says_or_leaves_no_trace(
    world: World, state: str
) -> None:
    for event in EVENTS["task"]:
        task, shadow = world.task(f"{state} {event}").id, Shadow()
        for step in way("backlog", (state, event))[:-1]:
            _do(world, task, shadow, step)
        assert shadow.state == state
        if machine.next_state("task", state, event):
            _do(world, task, shadow, event)
        else:
            before = written(world.db)
            with pytest.raises(moves.IllegalMove):
                moves.move_task(world.db, task, event, why="because", fence=shadow.fence)
            assert written(world.db) == before
        row = tasks.by_id(world.db, task)
        assert row is not None
        assert shadow == Shadow(
            row.state, row.fence, row.tries, row.round, row.bounces, row.leased_by_run
        )
    assert_history_replays(world.db)
    assert lineage.first_bad_row(world.db) is None


def _do(world: World, task: int, shadow: Shadow, event: str) -> None:
    if event != "claim":
        moves.move_task(world.db, task, event, why="because", fence=shadow.fence)
        shadow.move(event)
        return
    for run in runs.live(world.db):
        moves.move_run(world.db, run.id, "complete", why="done")
    role = "qa" if shadow.state == "review" else "dev"
    ledger.envelope(world.db, "task", str(task), "", 2_000_000)
    run = claim(world.db, task, role, agents.idle(world.db, role)[0].id)
    assert run is not None
    shadow.move("claim", run.id)


@pytest.mark.parametrize(
    "statement",
    [
        "update task set state = 'done'",
        "update task set state = 'running'",
        "update task set state = 'done', last_event = 'prove'",
        "update goal set state = 'done', last_event = 'planned'",
        "insert into task (project, title, state) select id, 'x', 'done' from project",
        "insert into goal (project, ident, title, digest, state)"
        " select id, 'x', 'x', 'x', 'planned' from project",
        "update history set reason = 'other'",
        "delete from history",
        "update lineage set why = 'other'",
        "delete from lineage",
    ],
)
def test_sql_that_goes_around_the_moves_is_refused(world: World, statement: str) -> None:
    world.task()
    with pytest.raises(psycopg.DatabaseError) as refused:
        world.db.execute(statement)
    assert refused.value.sqlstate in ("CW002", "CW004")


def test_a_legal_state_written_without_its_move_is_found(world: World) -> None:
    task = world.task().id
    world.claim(task)
    world.db.execute("update task set state = 'running', last_event = 'start'")
    found = lineage.first_bad_row(world.db)
    assert found is not None
    assert f"Task {task}" in found


def test_a_move_cannot_set_what_belongs_to_the_machine(world: World) -> None:
    before = world.task()
    after = moves.move_task(
        world.db, before.id, "park", why="x", state="done", fence=None, tries=9, round=9,
        bounces=9, chain_head="0", project=99, id=99,
    )  # fmt: skip
    assert (after.id, after.project, after.state) == (before.id, before.project, "parked")
    assert (after.fence, after.tries, after.round, after.bounces) == (0, 0, 0, 0)
    assert lineage.first_bad_row(world.db) is None


def test_a_task_that_is_landing_cannot_be_cancelled(world: World) -> None:
    task = world.task().id
    candidate = world.finish(task)
    world.review(task, candidate, "pass")
    row = landings.intend(
        world.db, project=world.project.id, task=task, kind="land", candidate=candidate,
        old_main=MAIN, new_main=NEXT, car=NEXT, tree=TREE, epoch=1,
    )  # fmt: skip
    with pytest.raises(moves.IllegalMove, match="landing right now"):
        moves.move_task(world.db, task, "cancel", why="too late")
    landings.settle(world.db, row.id, "void")
    assert moves.move_task(world.db, task, "cancel", why="in time").state == "cancelled"


def test_a_task_lands_once(world: World) -> None:
    task = world.task().id
    world.land(task, _merging(world, task))
    with pytest.raises(psycopg.errors.UniqueViolation):
        landings.intend(
            world.db, project=world.project.id, task=task, kind="land", candidate=None,
            old_main=NEXT, new_main=MAIN, car=MAIN, tree=TREE, epoch=1,
        )  # fmt: skip


def _merging(world: World, task: int) -> int:
    candidate = world.finish(task)
    world.review(task, candidate, "pass")
    return candidate


def test_what_is_not_there_cannot_move(db: Db) -> None:
    for call in (moves.move_task, moves.move_goal, moves.move_run):
        with pytest.raises(moves.Missing):
            call(db, 4711, "cancel", why="x")
    with pytest.raises(moves.Missing):
        moves.tell(db, "task", 4711, "say", "x")


def test_a_heartbeat_renews_only_whose_fence_is_still_its_own(world: World) -> None:
    kept, taken = world.task("kept").id, world.task("taken").id
    mine, lost = world.start(kept), world.start(taken)
    moves.move_task(world.db, taken, "lose", why="silent", run=lost.id)
    moves.move_run(world.db, lost.id, "lose", why="silent")
    again = world.start(taken)
    held = moves.heartbeat(world.db, HOST, [mine.id, lost.id], timedelta(seconds=90))
    assert held == {mine.id}
    with pytest.raises(moves.Fenced):
        moves.move_task(world.db, taken, "finish", why="late", fence=lost.fence, run=lost.id)
    assert again.fence > lost.fence
    assert moves.heartbeat(world.db, "elsewhere", [mine.id], timedelta(seconds=90)) == set()


def test_a_contract_is_read_in_the_version_that_was_given(world: World) -> None:
    task = world.task().id
    tasks.amend(world.db, task, Contract(spec="second"), "operator")
    assert tasks.contract(world.db, task, 2).spec == "second"
    assert tasks.contract(world.db, task).spec == "Do it: A thing", "the move has not come yet"
