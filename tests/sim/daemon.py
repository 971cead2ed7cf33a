"""The simulated daemon: its loops and the stages that need no agent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from clawd.policy.failure import Reason
from tests.sim.claiming import Claiming
from tests.sim.rows import Bug, DbDown, Refused, Run, Task
from tests.sim.settling import Settling
from tests.sim.train import Train

if TYPE_CHECKING:
    from tests.sim.world import World

TICK_S, HINT_S, OTHER_HOST_S = 15.0, 2.0, 600.0


class Daemon(Settling, Claiming):
    """One daemon of one host; what it knows only in memory dies with it."""

    def __init__(self, world: World, host: str) -> None:
        self.world, self.host, self.alive = world, host, True
        self.store, self.hub, self.bugs = world.store, world.hub, world.bugs
        self.busy: set[int] = set()
        self.checking: set[int] = set()
        self.train = Train(self) if host == "home" else None
        self.early = False

    def start(self) -> None:
        """What a restart begins with: living runs are adopted, never started again."""
        if Bug.DOUBLE_ADOPT in self.bugs:
            for run in self.store.live.values():
                if run.host == self.host and run.state != "created":
                    self.world.launch(run)
        self.tick(again=True)

    def go(self, name: str, work: Iterator[float], run: int | None = None) -> None:
        """Runs an activity from pause to pause; each pause is a point where all may die."""
        if run is not None:
            self.busy.add(run)
        self.world.after(0.0, name, lambda: self._advance(name, work, run), self)

    def _advance(self, name: str, work: Iterator[float], run: int | None) -> None:
        try:
            pause = next(work)
        except StopIteration:
            self.busy.discard(run or 0)
            return
        except (DbDown, Refused) as error:
            self.world.log(f"{name} {run or ''} gave up: {error!r}")
            self.busy.discard(run or 0)
            return
        self.world.crash_point(self)
        self.world.after(pause, name, lambda: self._advance(name, work, run), self)

    # ---- the loops, each reconciles first

    def hint(self) -> None:
        """Somebody committed: look soon; a lost hint is repaired by the timer."""
        if not self.early:
            self.early = True
            self.world.after(HINT_S, "hint", self._hinted, self)

    def _hinted(self) -> None:
        self.early = False
        self.tick(again=False)

    def tick(self, again: bool = True) -> None:
        if again:
            self.world.after(TICK_S, "tick", self.tick, self)
        try:
            self._heartbeat()
            self._scan()
            self._end_stale()
            self._follow()
            self._settle_ended()
            if self.host == "home":
                self._reuse()
                self._check()
                self._verify()
                assert self.train is not None
                self.train.turn()
                self._plan()
                self._send()
            self._claim("qa")
            self._claim("dev")
        except (DbDown, Refused) as error:
            self.world.log(f"{self.host} tick: {error!r}")

    def _mine(self) -> list[Run]:
        return [run for run in self.store.live.values() if run.host == self.host]

    def _heartbeat(self) -> None:
        held = self.store.heartbeat(self.host)
        self.world.beats[self.host] = self.store.now
        for run in self._mine():
            if run.task is not None and run.id not in held:
                self._stop(run, "fenced: the task was taken from this run")

    def _stop(self, run: Run, reason: str) -> None:
        keeper = self.world.keepers.get(run.id)
        if keeper:
            keeper.end("stopped", reason)

    def _scan(self) -> None:
        """Other hosts' leases after their grace; our own are settled, not scanned."""
        if Bug.NO_SCAN in self.bugs:
            return
        now = self.store.now
        if Bug.WRONG_CLOCK in self.bugs:
            now += self.world.clock_off[self.host]
        for task in list(self.store.tasks.values()):
            if task.run is None or task.host == self.host:
                continue
            if task.lease_until < now - OTHER_HOST_S:
                run = task.run
                with self.store.tx():
                    self.store.move_task(task.id, "lose", run=run, reason="lost")
                    self.store.move_run(run, "lose", reason="lost")

    def _end_stale(self) -> None:
        for run in self._mine():
            task = self.store.tasks.get(run.task or 0)
            if task is not None and task.run != run.id:
                self._stop(run, "cancelled" if task.state == "cancelled" else "fenced")

    def _follow(self) -> None:
        for run in self._mine():
            keeper = self.world.keepers.get(run.id)
            started = run.state in ("created", "context_loaded")
            if keeper and keeper.alive and keeper.delivered and started:
                self.store.move_run(run.id, "execute")

    def _settle_ended(self) -> None:
        for run in self._mine():
            keeper = self.world.keepers.get(run.id)
            if run.id not in self.busy and (keeper is None or not keeper.alive):
                self.go("settle", self.settle(run), run.id)

    # ---- the stages that need no agent

    def _reuse(self) -> None:
        for task in self._ready("qa"):
            candidate = self.store.candidates[task.candidate or 0]
            patch = self.hub.added(candidate.commit)
            for verdict in self.store.verdicts:
                if verdict.task != task.id or verdict.answer != "pass" or candidate.no_change:
                    continue
                same = self.hub.added(self.store.candidates[verdict.candidate].commit) == patch
                if Bug.OLD_VERDICT in self.bugs or (same and verdict.contract == task.contract):
                    self.store.move_task(task.id, "pass", fence=task.fence)
                    break

    def _check(self) -> None:
        for task in self.store.tasks.values():
            if task.state != "review" or task.run is not None or task.id in self.checking:
                continue
            if self.store.candidates[task.candidate or 0].check == "due":
                self.checking.add(task.id)
                self.go("check", self._check_one(task))

    def _check_one(self, task: Task) -> Iterator[float]:
        candidate = self.store.candidates[task.candidate or 0]
        fence, contract = task.fence, task.contract
        self.world.nemesis.check_begun(task.id)
        try:
            yield self.world.rng.uniform(2, 20)
            if Bug.OLD_CHECK not in self.bugs and (task.contract, task.fence) != (contract, fence):
                return  # edited or moved meanwhile: what was checked is not what is asked for now
            with self.store.tx():
                colour = "red" if candidate.red_check else "green"
                self.store.put(candidate, check=colour, checked_for=contract)
                if colour == "red":
                    self.charge(task, "check_red", Reason.CHECK_RED, fence, candidate.run)
        finally:
            self.checking.discard(task.id)

    def _verify(self) -> None:
        store = self.store
        for task in list(store.tasks.values()):
            if task.state != "verifying":
                continue
            if task.kind == "job":
                self.world.judge_job(task)
                continue
            candidate = store.candidates[task.candidate or 0]
            rows = [i for i in store.landings.values() if i.task == task.id]
            landed = any(i.kind == "land" and i.state == "landed" for i in rows)
            on_main = candidate.no_change or (landed and candidate.commit in self.hub.on_main)
            if on_main:
                store.move_task(task.id, "prove")
        for goal in store.goals.values():
            if goal.state == "planned" and goal.reason != "reverted":
                states = [t.state for t in store.tasks.values() if t.goal == goal.id]
                if "done" in states and set(states) <= {"done", "cancelled", "rolled_back"}:
                    store.move_goal(goal.id, "finish")

    def _send(self) -> None:
        for message in self.store.outbox.values():
            if message.state == "due" and message.id not in self.busy:
                self.go("send", self._send_one(message.id), message.id)

    def _send_one(self, id: int) -> Iterator[float]:
        message = self.store.outbox[id]
        if Bug.LOST_OUTBOX in self.bugs:
            with self.store.tx():
                self.store.put(message, state="sent")
        yield 0.5
        if not self.world.deliver(message.dedupe):
            return
        yield 0.5
        with self.store.tx():
            self.store.put(message, state="sent")
