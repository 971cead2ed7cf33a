"""Random moves of tasks, goals and runs against a real database: every rule holds all the way."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from clawd import machine
from clawd.store import agents, ledger, lineage, moves, runs, tasks
from clawd.store.rows import Db
from tests.parts.chain_ground import (
    EVENTS,
    EVERY_MOVE,
    Shadow,
    assert_history_replays,
    claim,
    count,
    way,
    written,
)
from tests.parts.steer_ground import World, make_world


@pytest.fixture
def world(db: Db, tmp_path: Path) -> World:
    return make_world(db, tmp_path)


class Moves(RuleBasedStateMachine):
    """Random events on two tasks, one needing the other, on a goal and on their runs."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        first = self.world.task("first")
        second = self.world.task("second", needs=[first.id])
        self.first, self.second = first.id, second.id
        self.tasks = {first.id: Shadow(), second.id: Shadow()}
        for task in self.tasks:
            ledger.envelope(self.db, "task", str(task), "", 2_000_000)
        self.met = False
        row = self.world.db.execute(
            """insert into goal (project, ident, title, digest)
               values (%s, 'g-' || txid_current(), 'another', 'd') returning id""",
            (self.world.project.id,),
        ).fetchone()
        assert row is not None
        self.goal, self.goal_state, self.plan_tries = int(row["id"]), "seen", 0
        self.live: dict[int, str] = {}

    @property
    def db(self) -> Db:
        return self.world.db

    @rule(which=st.booleans(), wanted=st.sampled_from(EVERY_MOVE))
    def go_to(self, which: bool, wanted: tuple[str, str]) -> None:
        """The shortest legal way to one move of the table: chance alone stays near the start."""
        task = self.first if which else self.second
        for event in way(self.tasks[task].state, wanted):
            if event == "claim":
                self.end_runs()
                self.claim_a_task(which, "qa" if self.tasks[task].state == "review" else "dev")
            elif machine.next_state("task", self.tasks[task].state, event):
                self.move_a_task(which, event, "fence")

    @rule()
    def end_runs(self) -> None:
        """Agents are free again."""
        for run, state in self.live.items():
            if state not in machine.ENDED["run"]:
                moves.move_run(self.db, run, "complete", why="done", spent_micros=10)
                self.live[run] = "completed"

    @rule(which=st.booleans(), event=st.sampled_from(EVENTS["task"]), holds=st.sampled_from(
        ["authority", "fence", "stale"]))  # fmt: skip
    def move_any_task(self, which: bool, event: str, holds: str) -> None:
        self.move_a_task(which, event, holds)

    def move_a_task(self, which: bool, event: str, holds: str) -> None:
        task = self.first if which else self.second
        shadow = self.tasks[task]
        fence = {"authority": None, "fence": shadow.fence, "stale": shadow.fence - 1}[holds]
        legal = machine.next_state("task", shadow.state, event) is not None
        if event == "claim":
            return  # a claim has a run: the next rule
        if legal and holds != "stale":
            before = count(self.db, "outbox")
            moves.move_task(self.db, task, event, why="because", fence=fence)
            parked = self._shadow_moves(task, event)
            assert count(self.db, "outbox") == before + 1 + parked
            return
        before = written(self.db)
        with pytest.raises((moves.IllegalMove, moves.Fenced)) as refused:
            moves.move_task(self.db, task, event, why="because", fence=fence)
        assert isinstance(refused.value, moves.Fenced) == (holds == "stale")
        assert written(self.db) == before

    def _shadow_moves(self, task: int, event: str) -> int:
        shadow = self.tasks[task]
        shadow.move(event)
        other = self.tasks[self.second]
        if task == self.first:
            self.met = self.met or shadow.state in ("verifying", "done")
            if shadow.state in ("cancelled", "rolled_back") and other.state == "backlog":
                other.move("park")
                return 1
        return 0

    @rule(which=st.booleans(), role=st.sampled_from(["dev", "qa"]))
    def claim_a_task(self, which: bool, role: str) -> None:
        task = self.first if which else self.second
        shadow = self.tasks[task]
        idle = agents.idle(self.db, role)
        if not idle:
            return
        open_needs = not which and not self.met and not _needs_dropped(self.db, task)
        wanted = "review" if role == "qa" else "backlog"
        free = shadow.state == wanted and shadow.lease is None
        got = claim(self.db, task, role, idle[0].id)
        assert (got is not None) == (free and (role == "qa" or not open_needs))
        if got is not None:
            shadow.move("claim", got.id)
            assert got.fence == shadow.fence
            self.live[got.id] = "created"

    @rule(data=st.data(), event=st.sampled_from(EVENTS["run"]))
    def move_a_run(self, data: st.DataObject, event: str) -> None:
        if not self.live:
            return
        run = data.draw(st.sampled_from(sorted(self.live)))
        target = machine.next_state("run", self.live[run], event)
        if target is None:
            before = written(self.db)
            with pytest.raises(moves.IllegalMove):
                moves.move_run(self.db, run, event, why="because")
            assert written(self.db) == before
            return
        moves.move_run(self.db, run, event, why="because", spent_micros=10)
        self.live[run] = target

    @rule(event=st.sampled_from(EVENTS["goal"]))
    def move_the_goal(self, event: str) -> None:
        target = machine.next_state("goal", self.goal_state, event)
        if target is None:
            before = written(self.db)
            with pytest.raises(moves.IllegalMove):
                moves.move_goal(self.db, self.goal, event, why="because")
            assert written(self.db) == before
            return
        moves.move_goal(self.db, self.goal, event, why="because")
        self.plan_tries += event in ("refuse", "fail")
        self.plan_tries = 0 if target == "seen" else self.plan_tries
        self.goal_state = target

    @invariant()
    def the_tables_are_what_the_moves_say(self) -> None:
        for task, shadow in self.tasks.items():
            row = tasks.by_id(self.db, task)
            assert row is not None
            assert shadow == Shadow(
                row.state, row.fence, row.tries, row.round, row.bounces, row.leased_by_run
            )
        row = self.db.execute(
            "select state, plan_tries from goal where id = %s", (self.goal,)
        ).fetchone()
        assert row == {"state": self.goal_state, "plan_tries": self.plan_tries}

    def teardown(self) -> None:
        for run, state in self.live.items():
            found = runs.by_id(self.db, run)
            assert found is not None
            assert found.state == state
            if state not in machine.ENDED["run"]:
                moves.move_run(self.db, run, "cancel", why="over")
        assert lineage.first_bad_row(self.db) is None
        assert_history_replays(self.db)
        reserved = self.db.execute("select sum(reserved) as n from envelope").fetchone()
        assert reserved == {"n": 0}
        assert len(agents.idle(self.db, "dev")) == 2


def _needs_dropped(db: Db, task: int) -> bool:
    row = db.execute("select deps_open from task where id = %s", (task,)).fetchone()
    assert row is not None
    return bool(row["deps_open"] == 0)


def test_random_moves_keep_every_rule(world: World) -> None:
    class Bound(Moves):
        pass

    Bound.world = world
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Bound,
        settings=settings(
            max_examples=40, stateful_step_count=25, deadline=None, database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
