"""The simulated merge train: tests, intents, compare-and-swap, recovery; steps by the policy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from clawd.policy import train
from clawd.policy.failure import Reason
from clawd.policy.train import Probe, Seen
from tests.sim.rows import Bug, DbDown, Landing, Task

if TYPE_CHECKING:
    from tests.sim.daemon import Daemon

MAIN: Probe = ()
RETEST_S = 900.0


class Train:
    """What one daemon knows of its tests; all of it may be forgotten at any time."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon, self.world = daemon, daemon.world
        self.store, self.hub, self.bugs = daemon.store, daemon.hub, daemon.bugs
        self.main = -1
        self.seen: dict[Probe, Seen] = {}
        self.commits: dict[Probe, int] = {}
        self.landing = False
        self.retest_at = self.store.now + RETEST_S

    def turn(self) -> None:
        """One look: recover, test main, then as many steps as there is something to do."""
        if self.landing:
            return
        self._recover()
        if self.main != self.hub.main and Bug.STALE_TESTS not in self.bugs:
            self.seen, self.commits, self.main = {}, {}, self.hub.main
        if not self._main_is_green() or self._revert():
            return
        while not self.landing and self._step():
            pass

    def _main_is_green(self) -> bool:
        """Main's own tree is judged before anybody is blamed."""
        tree, project = self.hub.commits[self.hub.main].tree, self.store.project
        if project.baseline_tree == tree and project.baseline != "unknown":
            if project.baseline == "red":
                self._look_again(tree)
            return project.baseline == "green"
        known = project.verdicts.get(tree)
        if known:
            with self.store.tx():
                self.store.put(project, baseline_tree=tree, baseline=known)
            return known == "green"
        if self.seen.get(MAIN) is not Seen.RUNNING:
            self._test(MAIN, self.hub.main)
        return False

    def _look_again(self, tree: frozenset[int]) -> None:
        """A red main is tested again on a timer: it may have been the tests' own mood."""
        if self.store.now >= self.retest_at:
            self.retest_at = self.store.now + RETEST_S
            self.seen.pop(MAIN, None)
            with self.store.tx():
                self.store.project.verdicts.pop(tree, None)
                self.store.put(self.store.project, baseline="unknown")

    def _queue(self) -> list[Task]:
        merging = [t for t in self.store.tasks.values() if t.state == "merging"]
        return sorted(merging, key=lambda t: (t.queued_at, t.id))

    def _step(self) -> bool:
        """One step of the policy; True when another may follow."""
        queue = self._queue()
        if not queue and not self.seen:
            return False
        for task in queue:
            if self._goes_elsewhere(task):
                return True
        ids = [task.id for task in queue]
        seen = {probe: known for probe, known in self.seen.items() if probe and probe[0] > 0}
        if Bug.UNTESTED_LANDING in self.bugs:
            seen = {p: Seen.GREEN if v is Seen.RUNNING else v for p, v in seen.items()}
        slots, rate = self.store.settings.slots, self.store.project.failure_rate
        step = train.next_step(ids, seen, slots, rate, self._clashes(queue))
        for probe in step.abort:
            self.seen.pop(probe, None)
        for probe in step.test:
            self._test(probe, self._couple(probe))
        if step.land:
            self.landing = True
            self.daemon.go("land", self._land(step.land))
        elif step.back is not None:
            self._bounce(self.store.tasks[step.back], Reason.TESTS_RED)
            self.seen = train.without(self.seen, step.back)
            return True
        return False

    def _goes_elsewhere(self, task: Task) -> bool:
        """Conflicts with main go back; what the gate holds waits for a person."""
        candidate = self.store.candidates[task.candidate or 0]
        if self.hub.conflicts_with_main(candidate.commit):
            self._bounce(task, Reason.CONFLICT)
            self.seen = train.without(self.seen, task.id)
            return True
        if candidate.held:
            with self.store.tx():
                self.store.put(candidate, held="")
                self.store.ask("protected", task=task.id)
                self.store.move_task(
                    task.id, "hold", return_to="merge", reason="held", owner="operator"
                )
            self.seen = train.without(self.seen, task.id)
            return True
        return False

    def _bounce(self, task: Task, reason: Reason) -> None:
        rate = train.estimate(self.store.project.failure_rate, 0, 1)
        with self.store.tx():
            self.store.put(self.store.project, failure_rate=rate)
            if task.bounces + 1 > self.store.settings.bounces:
                self.daemon.park(task, Reason.BOUNCES, None, None)
            else:
                self.store.move_task(task.id, "bounce", reason=reason.value, front=True)

    def _clashes(self, queue: list[Task]) -> set[tuple[int, int]]:
        if not self.hub.clashing:
            return set()
        parts = [self.store.candidates[t.candidate or 0].commit for t in queue]
        adds = [(t.id, self.hub.added(part)) for t, part in zip(queue, parts, strict=True)]
        return {(a, b) for a, x in adds for b, y in adds if a < b and self.hub.clash(x, y)}

    def _couple(self, probe: Probe) -> int:
        """Main and the cars, one merge commit: the tree that is tested is the one that lands."""
        tip = self.hub.commits[self.hub.main]
        parts = [self.store.candidates[self.store.tasks[id].candidate or 0].commit for id in probe]
        tree = tip.tree.union(*(self.hub.added(part) for part in parts))
        return self.hub.commit((tip.id, *parts), tree, "land", probe).id

    def _test(self, probe: Probe, commit: int) -> None:
        self.seen[probe], self.commits[probe] = Seen.RUNNING, commit
        self.daemon.go("tests", self._run_tests(commit))

    def _run_tests(self, commit: int) -> Iterator[float]:
        """A red run is run once more; the verdict is kept by tree, so a forgotten one is found."""
        tree = self.hub.commits[commit].tree
        known = self.store.project.verdicts.get(tree)
        if known is None:
            for _ in range(2):
                yield self.world.rng.uniform(20, 90)
                red = self.hub.is_red(tree) or self.world.flakes()
                if not red:
                    break
            known = "red" if red else "green"
            if known == "green":
                self.world.promises.tested.add(tree)
            try:
                with self.store.tx():
                    self.store.project.verdicts[tree] = known
            except DbDown:
                yield 5.0
        for probe, about in list(self.commits.items()):
            if about == commit and self.seen.get(probe) is Seen.RUNNING:
                self.seen[probe] = Seen(known)
        self.daemon.hint()

    # ---- landing exactly once

    def _land(self, probe: Probe) -> Iterator[float]:
        try:
            commit = self.hub.commits[self.commits[probe]]
            if Bug.STALE_TESTS in self.bugs:
                commit = self.hub.commits[self._couple(probe)]
            yield 0.2
            with self.store.tx():
                for id, part in zip(probe, commit.parents[1:], strict=True):
                    task = self.store.tasks[id]
                    candidate = self.store.candidates[task.candidate or 0]
                    if task.state != "merging" or candidate.commit != part:
                        self.seen = train.without(self.seen, id)
                        return
                    self.store.intend(
                        id, "land", candidate.id, commit.parents[0], commit.id, commit.tree
                    )
            self.world.nemesis.intent_written(probe[0])
            yield self.world.rng.uniform(0.1, 2.0)
            yield from self._complete(commit.id)
        finally:
            self.landing = False
            self.daemon.hint()

    def _open(self) -> list[Landing]:
        return [i for i in self.store.landings.values() if i.state == "intent"]

    def _complete(self, new: int) -> Iterator[float]:
        """An intent made true or void: git is the witness, the row the ledger."""
        rows = [i for i in self._open() if i.new_main == new]
        if not self._is_landed(rows):
            new = self._again(rows) if Bug.LANDS_AGAIN in self.bugs else new
            if not self.hub.swap(new, rows[0].old_main, self.store.now):
                if self.store.now >= self.hub.locked_until:
                    self._void(rows)
                return
            yield 0.2
        self._settle(rows, new)

    def _is_landed(self, rows: list[Landing]) -> bool:
        return rows[0].new_main in self.hub.on_main and Bug.LANDS_AGAIN not in self.bugs

    def _again(self, rows: list[Landing]) -> int:
        """The planted mistake: whatever main is, the cars are merged onto it once more."""
        tip = self.hub.commits[self.hub.main]
        lost = self.hub.commits[rows[0].new_main]
        tree = tip.tree | lost.tree
        for row in rows:
            row.old_main = tip.id
        return self.hub.commit((tip.id, *lost.parents[1:]), tree, lost.what, lost.tasks).id

    def _void(self, rows: list[Landing]) -> None:
        with self.store.tx():
            for row in rows:
                self.store.put(row, state="void")

    def _settle(self, rows: list[Landing], new: int) -> None:
        kind = rows[0].kind
        landed = tuple(row.task for row in rows)
        rate = train.estimate(self.store.project.failure_rate, len(rows), 0)
        with self.store.tx():
            tree = rows[0].tree
            self.store.put(
                self.store.project, baseline_tree=tree, baseline="green", failure_rate=rate
            )
            for row in rows:
                self.store.put(row, state="landed")
                self.store.move_task(row.task, kind)
                self.store.tell(f"{kind}:{row.id}")
                if kind == "revert":
                    self._reopen_goal(self.store.tasks[row.task].goal)
        self.main = new
        self.seen = train.rebase(self.seen, landed)
        self.commits = train.rebase(self.commits, landed)

    def _reopen_goal(self, goal: int | None) -> None:
        if goal and self.store.goals[goal].state == "done":
            self.store.move_goal(goal, "redo", reason="reverted", owner="operator")

    def _recover(self) -> None:
        for new in {i.new_main: None for i in self._open()}:
            for _ in self._complete(new):
                pass

    def _revert(self) -> bool:
        """The operator's undo: tested and landed like any change; True while it is under way."""
        asked = [i for i in self.store.landings.values() if i.state == "asked"]
        if not asked:
            return False
        row, tip = asked[0], self.hub.commits[self.hub.main]
        part = self.store.candidates[row.candidate].commit
        tree = tip.tree - self.hub.added(part)
        known = self.store.project.verdicts.get(tree)
        if known is None:
            key = (-row.task,)
            if self.seen.get(key) is not Seen.RUNNING:
                made = self.hub.commit((tip.id,), tree, "revert", (row.task,))
                self._test(key, made.id)
            return True
        self.seen.pop((-row.task,), None)
        if known != "green":
            self._void_asked(row)
            return False
        made = self.hub.commit((tip.id,), tree, "revert", (row.task,))
        with self.store.tx():
            self.store.put(row, state="intent", old_main=tip.id, new_main=made.id, tree=tree)
        self.landing = True
        self.daemon.go("revert", self._finish_revert(made.id))
        return True

    def _finish_revert(self, commit: int) -> Iterator[float]:
        try:
            yield 0.5
            yield from self._complete(commit)
        finally:
            self.landing = False

    def _void_asked(self, row: Landing) -> None:
        with self.store.tx():
            self.store.put(row, state="void")
            self.store.tell(f"undo_refused:{row.id}")
