"""The merge train: asks the policy which trees to test next, tests them, lands and sends back."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import psutil

from clawd.adapters import crash
from clawd.model import Facts, Json, Project, Task
from clawd.pipeline import ending, landing
from clawd.pipeline.brief import cut
from clawd.pipeline.couple import Car, Conflict, Coupled, Yard, cars_of, couple, named
from clawd.pipeline.desk import Desk
from clawd.pipeline.layer import SetupFailed, ensure
from clawd.pipeline.testing import Stopped, end_tests, judge_tree
from clawd.policy import train as policy
from clawd.policy.failure import Reason
from clawd.policy.train import Clash, Probe, Seen, Step
from clawd.store import landings, moves, tasks
from clawd.store.landings import TestVerdict
from clawd.store.rows import Db


@dataclass(slots=True)
class Tested:
    """A probe under test or judged; the verdict is None while it runs."""

    coupled: Coupled
    future: Future[TestVerdict | None]

    @property
    def seen(self) -> Seen:
        """What the policy is told of it."""
        if not self.future.done():
            return Seen.RUNNING
        verdict = self.future.result()
        # A flake is green: its second look was, and it is written down beside the landing.
        good = verdict is not None and verdict.verdict in ("green", "flaky")
        return Seen.GREEN if good else Seen.RED


@dataclass(slots=True)
class Line:
    """What one project's train knows on top of main as it is now."""

    main: str = ""
    rate: float = policy.FIRST_RATE
    probes: dict[Probe, Tested] = field(default_factory=dict)
    clashes: set[Clash] = field(default_factory=set)
    yard: Yard = field(default_factory=Yard)
    there: set[str] = field(default_factory=set)  # candidates that the hub was seen to have


class Train:
    """Every project's train; the tests run beside it, `slots` at a time."""

    def __init__(self, desk: Desk, wake: Callable[[], None]) -> None:
        self._desk, self._wake = desk, wake
        self._slots = desk.config.train.slots or max(1, (os.cpu_count() or 2) // 2)
        self._pool = ThreadPoolExecutor(self._slots, thread_name_prefix="tests")
        self._lines: dict[int, Line] = {}

    def turn(self, project: Project) -> bool:
        """Everything that can be decided now; True when main or the queue changed."""
        landing.recover_intents(self._desk, project)
        if project.landings_held:
            return False
        line = self._line(project)
        cars = self._queue(project, line)
        step = self._decide(line, cars)
        for probe in step.abort:
            self._abort(project, line.probes.pop(probe))
        if step.land:
            return self._land(project, line, step.land)
        if step.back is not None:
            self._send_back_red(project, line, step.back)
            return True
        changed = [self._start(project, line, cars, probe) for probe in step.test]
        return any(changed)

    def is_idle(self, project: Project) -> bool:
        """Whether nothing of this project is under test: a tick voids nobody's work then."""
        line = self._lines.get(project.id)
        return line is None or not line.probes

    def close(self) -> None:
        """Waits for the tests under way; the stop event ends them."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _line(self, project: Project) -> Line:
        """What is known; nothing of it counts once main moved otherwise."""
        main = self._desk.hub(project).resolve(project.main_ref)
        line = self._lines.get(project.id)
        if line is None:
            line = Line(main)
            with self._desk.db() as db:
                line.rate = landings.failure_rate(
                    db, project.id, policy.FIRST_RATE, policy.estimate
                )
            self._lines[project.id] = line
        elif line.main != main:
            for tested in line.probes.values():
                self._abort(project, tested)
            line.main, line.probes, line.clashes, line.there = main, {}, set(), set()
        self._forget_unjudged(line)
        return line

    def _forget_unjudged(self, line: Line) -> None:
        """Tests that were stopped said nothing."""
        for probe, tested in list(line.probes.items()):
            if tested.future.done() and tested.future.result() is None:
                del line.probes[probe]

    def _queue(self, project: Project, line: Line) -> list[Car]:
        """Waiting cars in the order they came; only mends while main is not green."""
        green = project.baseline_verdict == "green"
        with self._desk.db() as db:
            waiting = tasks.merging(db, project.id)
        waiting = [task for task in waiting if green or task.mends]
        present = {task.id: task.candidate for task in waiting}
        for probe, tested in list(line.probes.items()):
            cars = tested.coupled.cars
            if any(present.get(car.task.id) != car.candidate.id for car in cars):
                self._abort(project, line.probes.pop(probe))
        seen = {probe: tested.seen for probe, tested in line.probes.items()}
        urgency = {t.id: (-1 if t.front else 0) * 1_000_000 + t.priority for t in waiting}
        order = policy.reorder([t.id for t in waiting], seen, urgency)
        by_id: dict[int, Task] = {task.id: task for task in waiting}
        waiting_cars = cars_of(self._desk, [by_id[task] for task in order])
        return [car for car in waiting_cars if self._is_there(project, line, car)]

    def _is_there(self, project: Project, line: Line, car: Car) -> bool:
        """Asked once a car: a hub that was lost and made anew has no candidates."""
        if car.candidate.oid not in line.there:
            if not self._desk.hub(project).has(car.candidate.oid):
                ending.candidate_lost(self._desk, project, car.task)
                return False
            line.there.add(car.candidate.oid)
        return True

    def _decide(self, line: Line, cars: list[Car]) -> Step:
        if not cars:
            return Step()
        seen = {probe: tested.seen for probe, tested in line.probes.items()}
        ids = [car.task.id for car in cars]
        return policy.next_step(ids, seen, self._room(), line.rate, line.clashes)

    def _room(self) -> int:
        """Slots; one while memory is short, since tests beside each other need it twice."""
        floor = 2_000_000 * self._desk.config.limits.free_memory_mb
        return self._slots if psutil.virtual_memory().available >= floor else 1

    def _start(self, project: Project, line: Line, cars: list[Car], probe: Probe) -> bool:
        """Couples a probe and tests it; a first car that conflicts with main goes back at once."""
        hub = self._desk.hub(project)
        if not line.clashes and len(cars) > 1:
            line.clashes = line.yard.clashes(hub, cars)
            if line.clashes:
                return True  # ask again, now that the clashes are known
        coupled = couple(self._desk, project, named(probe, cars), line.main)
        if isinstance(coupled, Conflict):
            if not coupled.before:
                self._send_back_conflict(project, line, coupled)
            else:
                line.clashes.add((coupled.before[-1].task.id, coupled.car.task.id))
            return True
        crash.point("merge_test.before")
        future = self._pool.submit(self._test, project, coupled)
        line.probes[probe] = Tested(coupled, future)
        future.add_done_callback(lambda done: self._wake())
        return False

    def _test(self, project: Project, coupled: Coupled) -> TestVerdict | None:
        try:
            layer = ensure(self._desk, project, coupled.tip)
            if isinstance(layer, SetupFailed):
                return TestVerdict("red", 1, None, 0, "", f"set-up failed:\n{layer.output}")
            verdict = judge_tree(self._desk, project, coupled.tip, layer)
            crash.point("merge_test.after")
            return verdict
        except Stopped:
            return None
        except Exception as error:
            self._desk.failed("train", error)
            return None

    def _abort(self, project: Project, tested: Tested) -> None:
        """Ends a test whose answer nobody wants any more."""
        if not tested.future.cancel():
            end_tests(self._desk, project, tested.coupled.tip)

    def _land(self, project: Project, line: Line, probe: Probe) -> bool:
        tested = line.probes[probe]
        verdict = tested.future.result()
        assert verdict is not None  # noqa: S101 - the policy was told that it is green
        if not landing.land(self._desk, project, tested.coupled, verdict):
            line.probes.clear()
            return True
        line.main = tested.coupled.tip
        line.probes = policy.rebase(line.probes, probe)
        line.rate = policy.estimate(line.rate, len(probe), 0)
        line.clashes = {c for c in line.clashes if not set(c) & set(probe)}
        return True

    def _send_back_red(self, project: Project, line: Line, task: int) -> None:
        tested = line.probes[(task,)]
        verdict = tested.future.result()
        assert verdict is not None  # noqa: S101 - the policy was told that it is red
        coupled = tested.coupled
        car = next(c for c in coupled.cars if c.task.id == task)
        inputs: Json = {
            "files": [],
            "base": car.candidate.base_oid,
            "ours": line.main,
            "theirs": car.candidate.oid,
            "output": cut(verdict.output, 8_000),
        }
        tree, main = coupled.tree[:12], line.main[:12]
        why = f"tests {verdict.verdict} on the combined tree {tree} (main {main})"
        self._bounce(project, car.task, Reason.TESTS_RED, why, inputs)
        line.probes = policy.without(line.probes, task)
        line.rate = policy.estimate(line.rate, 0, 1)

    def _send_back_conflict(self, project: Project, line: Line, conflict: Conflict) -> None:
        hub = self._desk.hub(project)
        theirs, joined = conflict.car.candidate.oid, conflict.merged
        inputs: Json = {
            "files": joined.conflicts,
            "base": hub.merge_base(line.main, theirs) or "",
            "ours": line.main,
            "theirs": theirs,
            "output": cut(joined.messages, 4_000),
        }
        why = f"conflicts with main in {', '.join(joined.conflicts[:5])}"
        self._bounce(project, conflict.car.task, Reason.CONFLICT, why, inputs)
        line.probes = policy.without(line.probes, conflict.car.task.id)

    def _bounce(self, project: Project, task: Task, reason: Reason, why: str, inputs: Json) -> None:
        crash.point("bounce.before")
        with self._desk.db() as db, db.transaction():
            fresh = tasks.by_id(db, task.id)
            if fresh is not None and fresh.state == "merging":
                _write_bounce(self._desk, db, project, fresh, reason, why, inputs)
        crash.point("bounce.after")


def _write_bounce(
    desk: Desk, db: Db, project: Project, task: Task, reason: Reason, why: str, inputs: Json
) -> None:
    ending.bounce(desk, db, project, task, reason, why, Facts(inputs, policy="train", version="2"))
    moves.hint(db)
