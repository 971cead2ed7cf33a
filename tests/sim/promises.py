"""The promises, checked after every event against what really happened in the simulated world."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clawd import machine
from tests.sim.hub import Commit, Tree
from tests.sim.keeper import CALL_MICROS, LIMITS
from tests.sim.rows import Move, Task, Violation
from tests.sim.store import SETTLED_BY

if TYPE_CHECKING:
    from tests.sim.world import World

SCAN_S, OTHER_HOST_S = 15.0, 600.0
# From a lapsed lease to the moved row: two scans and the settling of a result.
SLACK_S = 2 * SCAN_S + 60.0


class Promises:
    """A second book-keeper: believes nothing the store says of itself."""

    def __init__(self, world: World) -> None:
        self.world, self.store = world, world.store
        self.states: dict[tuple[str, int], str] = {}
        self.counts: dict[int, dict[str, int]] = {}
        self.tested: set[Tree] = {frozenset()}
        self.landed: dict[int, int] = {}
        self.met: set[int] = set()
        self.healthy_since = 0.0
        self.hit: dict[tuple[str, str, str], int] = {}

    # ---- every committed move

    def on_commit(self, moves: list[Move]) -> None:
        if not moves:
            return
        for move in moves:
            born = {"task": "backlog", "goal": "seen", "run": "created"}[move.kind]
            known = self.states.get((move.kind, move.id), born)
            if known != move.was or machine.next_state(move.kind, known, move.event) != move.state:
                raise Violation("16 lineage", f"{move} does not follow from {known}")
            self.states[move.kind, move.id] = move.state
            key = (move.kind, move.was, move.event)
            self.hit[key] = self.hit.get(key, 0) + 1
            if move.kind == "task":
                if move.state in SETTLED_BY[self.store.tasks[move.id].kind]:
                    self.met.add(move.id)
                self._task(move)
        self._money()

    def _task(self, move: Move) -> None:
        task = self.store.tasks[move.id]
        if move.fence is not None and move.fence != move.old_fence:
            raise Violation("4 stale worker", f"{move} was written with an old fence")
        leased = move.was in machine.LEASED and move.by_run is not None and move.event != "claim"
        if leased and move.fence is not None and move.old_run not in (None, move.by_run):
            raise Violation("4 stale worker", f"{move} by a run that does not hold the task")
        self._count(move)
        if move.event == "claim":
            self._claimed(move)
        if move.event in ("pass", "no_change"):
            self._passed(move)
        if move.event == "lose":
            self._lost(move)
        held = {"tries": task.tries, "round": task.round, "bounces": task.bounces}
        if self.states["task", move.id] == task.state and held != self.counts[move.id]:
            raise Violation("counters", f"task {move.id} says {held}, was {self.counts[move.id]}")

    def _count(self, move: Move) -> None:
        counts = self.counts.setdefault(move.id, {"tries": 0, "round": 0, "bounces": 0})
        keeper = self.world.keepers.get(move.by_run or 0)
        charged = move.event == "check_red" or (move.event == "fail" and move.was != "review")
        limited = keeper is not None and keeper.plan in LIMITS and keeper.why == "exit"
        if charged and move.event == "fail" and limited:
            raise Violation("14 limits", f"{move} charges a try for a limit")
        counts["tries"] += charged
        counts["round"] += move.event == "revise"
        counts["bounces"] += move.event == "bounce"
        if move.event in ("retry", "reopen"):
            counts.update(tries=0, round=0, bounces=0)
        settings = self.store.settings
        if counts["round"] > settings.rounds or counts["bounces"] > settings.bounces:
            raise Violation("bounds", f"task {move.id} has {counts} after {move}")

    def _claimed(self, move: Move) -> None:
        task = self.store.tasks[move.id]
        for need in task.needs:
            if move.was == "backlog" and need not in self.met:
                raise Violation("dependants", f"task {task.id} began before {need} landed")
        if self.store.project.paused_until > self.store.now:
            raise Violation("14 limits", f"task {task.id} was claimed during a pause")
        if move.was == "review":
            candidate = self.store.candidates[task.candidate or 0]
            if candidate.check != "green" or candidate.checked_for != task.contract:
                raise Violation("dev to QA", f"{candidate} was reviewed unchecked")

    def _passed(self, move: Move) -> None:
        task = self.store.tasks[move.id]
        mine = [v for v in self.store.verdicts if v.task == task.id and v.answer == "pass"]
        patch = self._patch(task.candidate)
        if not any(v.contract == task.contract and self._patch(v.candidate) == patch for v in mine):
            raise Violation("verdict", f"task {task.id} passed on a verdict for something else")

    def _patch(self, candidate: int | None) -> Tree:
        return self.world.hub.added(self.store.candidates[candidate or 0].commit)

    def _lost(self, move: Move) -> None:
        run = self.store.runs.get(move.by_run or 0)
        keeper = self.world.keepers.get(move.by_run or 0)
        if run is None or keeper is None or not keeper.alive:
            return
        beat = self.world.beats.get(run.host, 0.0)
        silent = self.store.now - beat
        if silent < OTHER_HOST_S:
            raise Violation("3 leases", f"{move} while its host beat {silent:.0f}s ago")

    def _money(self) -> None:
        store = self.store
        over = dict.fromkeys(store.envelopes, 0)
        reserved = dict.fromkeys(store.envelopes, 0)
        for run in store.live.values():
            for name in self._names(run.task):
                reserved[name] += run.reserved
        for name, envelope in store.envelopes.items():
            if envelope.reserved != reserved[name]:
                raise Violation("9 budget", f"{name} has {envelope} for {reserved[name]} reserved")
        over = self.world.overshoot
        for name, envelope in store.envelopes.items():
            if envelope.spent + envelope.reserved > envelope.limit + over.get(name, 0):
                raise Violation("9 budget", f"{name} is overdrawn: {envelope}")

    @staticmethod
    def _names(task: int | None) -> tuple[str, ...]:
        return ("day",) if task is None else ("day", f"task:{task}")

    def booked(self, run: int, spent: int) -> None:
        """A run was closed: its row must say what its process really spent."""
        keeper = self.world.keepers.get(run)
        truth = keeper.spent if keeper else 0
        if spent != truth:
            raise Violation("9 budget", f"run {run} is booked with {spent}, it spent {truth}")
        reserved = self.store.runs[run].reserved
        if spent > reserved + CALL_MICROS:
            raise Violation("9 budget", f"run {run} spent {spent} of {reserved}")

    # ---- every move of main

    def on_tip(self, tip: Commit, before: Commit) -> None:
        hub = self.world.hub
        if before.id not in hub.on_main:
            raise Violation("5 exact tips", f"{tip} leaves {before} behind")
        if tip.what == "operator":
            return
        if tip.tree not in self.tested:
            raise Violation("5 exact tips", f"{tip} was never tested")
        if hub.is_red(tip.tree):
            raise Violation("5 green tips", f"{tip} is red")
        for task in tip.tasks:
            state = self.store.tasks[task].state
            now = self.landed.get(task, 0) + (1 if tip.what == "land" else -1)
            self.landed[task] = now
            if now not in (0, 1):
                raise Violation("2 landing twice", f"task {task} landed {now} times by {tip}")
            if tip.what == "land" and state != "merging":
                raise Violation("2 landing", f"task {task} is {state} while main moves to {tip}")

    # ---- what time shows

    def stalled(self) -> None:
        """No lease older than its grace plus a scan, counted while somebody could have looked."""
        store, now = self.store, self.store.now
        if not self.world.is_healthy():
            self.healthy_since = now
            return
        for task in store.tasks.values():
            if task.run is None:
                continue
            late = now - max(task.lease_until, self.healthy_since)
            allowed = SLACK_S + (OTHER_HOST_S if task.host != "home" else 0.0)
            if late > allowed:
                raise Violation("3 none stuck", f"{task} lapsed {late:.0f}s ago, nobody looked")

    def may_rest(self, task: Task) -> bool:
        """It ended, a person's turn it is, or it needs a task of which that is true."""
        if task.state in machine.ENDED["task"]:
            return True
        if task.state in ("parked", "waiting"):
            return task.owner == "operator"
        needs = [self.store.tasks[n] for n in task.unmet]
        return task.state == "backlog" and any(
            n.state not in machine.ENDED["task"] and self.may_rest(n) for n in needs
        )

    def at_the_end(self) -> None:
        """Everything ended, or waits for a person; every message arrived; git and rows agree."""
        world, store = self.world, self.store
        for task in store.tasks.values():
            if not self.may_rest(task):
                raise Violation("1 no task lost", f"{task} never ended")
            landed = [i for i in store.landings.values() if i.task == task.id]
            stands = sum(1 if i.kind == "land" else -1 for i in landed if i.state == "landed")
            if stands != self.landed.get(task.id, 0):
                raise Violation("2 landing", f"task {task.id}: rows say {stands}, {self.landed}")
        for goal in store.goals.values():
            ended = goal.state in machine.ENDED["goal"] or goal.owner == "operator"
            if not ended and goal.state != "planned":
                raise Violation("1 no task lost", f"{goal} never ended")
        for message in store.outbox.values():
            if message.dedupe not in world.received:
                raise Violation("15 outbox", f"{message} never arrived")
        for run in store.live.values():
            raise Violation("3 none stuck", f"{run} never ended")
        for intent in store.landings.values():
            if intent.state == "intent":
                raise Violation("3 none stuck", f"{intent} never settled")
