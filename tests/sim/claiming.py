"""How the simulated daemon gives out work: shipped schedule and budget decide."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from clawd.policy import budget, schedule
from clawd.policy.scope import overlaps
from clawd.policy.tier import DEFAULT_TIERS, TierName
from tests.sim.rows import Agent, Goal, NoRoom, Run, Task
from tests.sim.settling import moment

if TYPE_CHECKING:
    from tests.sim.hub import Hub
    from tests.sim.store import Store
    from tests.sim.world import World

TIER = DEFAULT_TIERS[TierName.INTERN]


class Claiming:
    """Ready tasks and goals to idle agents, with the money reserved."""

    world: World
    store: Store
    hub: Hub
    host: str

    def go(self, name: str, work: Iterator[float], run: int | None = None) -> None:
        raise NotImplementedError

    def _may_claim(self) -> bool:
        paused = self.store.project.paused_until > self.store.now
        full = len(self.store.live) >= self.store.settings.max_live
        return not (paused or full or self.world.frozen)

    def _idle(self, role: str) -> list[Agent]:
        return [a for a in self.store.agents.values() if a.role == role and a.live_run is None]

    def _claim(self, role: str) -> None:
        if not self._may_claim():
            return
        ready = self._ready(role)
        for agent in self._idle(role) if ready else []:
            for id in self._in_order(role, ready, agent):
                run = self._take(role, self.store.tasks[id], agent)
                if run is not None:
                    self.go("start", self._start(run), run.id)
                    if self._may_claim():
                        self._claim(role)
                    return

    def _ready(self, role: str) -> list[Task]:
        store, now = self.store, self.store.now
        free = [t for t in store.tasks.values() if t.run is None and t.not_before <= now]
        if role == "dev":
            if store.project.baseline != "green":
                return []
            free = [t for t in free if t.state == "backlog" and not t.unmet]
            return sorted(free, key=lambda t: (not t.front, t.id))
        free = [t for t in free if t.state == "review"]
        return [t for t in free if store.candidates[t.candidate or 0].check == "green"]

    def _in_order(self, role: str, ready: list[Task], agent: Agent) -> tuple[int, ...]:
        if role == "qa":
            return tuple(t.id for t in ready)
        states = ("claimed", "running", "review", "merging")
        live = [
            schedule.Live(t.id, 1, t.scope, t.state in ("claimed", "running"))
            for t in self.store.tasks.values()
            if t.state in states
        ]
        asked = [
            schedule.Ready(t.id, 1, t.scope, t.prefer_agent, moment(t.prefer_until)) for t in ready
        ]
        now = moment(self.store.now)
        return schedule.choose(asked, live, {}, agent.id, now, overlaps).tasks

    def _take(self, role: str, task: Task, agent: Agent) -> Run | None:
        store = self.store
        own, day = store.envelopes[f"task:{task.id}"], store.envelopes["day"]
        granted = budget.grant(
            TIER.usd_micros,
            max(0, own.limit - own.spent - own.reserved),
            max(0, day.limit - day.spent - day.reserved),
        )
        if granted.refusal.startswith("task") and task.state == "backlog":
            store.move_task(task.id, "park", reason="envelope_empty", owner="operator")
        if granted.refusal:
            self.world.log(f"  task {task.id}: {granted.refusal}")
            return None
        base = self.hub.main
        try:
            return store.claim(
                task, role, agent, self.host, reserved=granted.micros,
                capped=granted.micros < TIER.usd_micros, base=base,
            )  # fmt: skip
        except NoRoom:
            return None

    def _start(self, run: Run) -> Iterator[float]:
        """The clone, then the decision, then the process."""
        yield self.world.rng.uniform(0.2, 4.0)
        if self.world.cage_is_broken():
            with self.store.tx():
                self.store.move_run(run.id, "fail", reason="cage_failed")
                task = self.store.tasks.get(run.task or 0)
                if task is not None and task.run == run.id:
                    self.store.move_task(
                        task.id, "yield", fence=run.fence, run=run.id, reason="cage_failed",
                        not_before=self.store.now + 60,
                    )  # fmt: skip
            return
        with self.store.tx():
            self.store.move_run(run.id, "load")
            if run.role == "dev":
                self.store.move_task(run.task or 0, "start", fence=run.fence, run=run.id)
        yield 0.1
        self.world.launch(run)

    def _plan(self) -> None:
        store, now = self.store, self.store.now
        busy = {run.goal for run in store.live.values() if run.role == "planner"}
        if not self._may_claim():
            return
        new = [g for g in store.goals.values() if g.state == "seen" and not g.specified]
        asked = any(run.role == "pm" for run in store.live.values())
        if any(g.not_before <= now for g in new) and not asked:
            self._open("pm", None)
        for goal in store.goals.values():
            ready = goal.state == "planning" or (goal.state == "seen" and goal.specified)
            if ready and goal.id not in busy and goal.not_before <= now and self._may_claim():
                self._open("planner", goal)

    def _open(self, role: str, goal: Goal | None) -> None:
        day, idle = self.store.envelopes["day"], self._idle(role)
        granted = budget.grant(TIER.usd_micros, None, day.limit - day.spent - day.reserved)
        if granted.refusal or not idle:
            return
        with self.store.tx():
            run = self.store.open_run(
                role, idle[0], self.host, granted.micros, fence=0, capped=False,
                goal=goal.id if goal else None,
            )  # fmt: skip
            if goal is not None and goal.state == "seen":
                self.store.move_goal(goal.id, "plan", run=run.id)
        self.go("start", self._start(run), run.id)
