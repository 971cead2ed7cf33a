"""The simulated world: virtual time, agents, operator, faults; everything from one seed."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from random import Random

from tests.sim import keeper as processes
from tests.sim.daemon import Daemon
from tests.sim.faults import CHAOS_S, Fault, Nemesis, draw_faults
from tests.sim.hub import Hub
from tests.sim.keeper import Keeper
from tests.sim.operator import Operator
from tests.sim.promises import Promises
from tests.sim.rows import Agent, Bug, Goal, Run, Settings, Task, Violation
from tests.sim.store import Store

END_S = CHAOS_S + 40_000.0
MOST_EVENTS, LOOK_S = 20_000, 15.0


class World:
    """One seed from its first event to its last."""

    def __init__(
        self,
        seed: int,
        bugs: frozenset[Bug] = frozenset(),
        faults: tuple[Fault, ...] | None = None,
        trace: list[str] | None = None,
    ) -> None:
        self.rng, self.bugs, self.trace = Random(seed), bugs, trace
        rng = self.rng
        settings = Settings(
            tries=rng.choice((1, 2, 3, 3)), rounds=rng.choice((1, 2, 3)),
            bounces=rng.choice((1, 3, 5)), slots=rng.choice((1, 2, 4)),
            max_live=rng.choice((2, 4, 6)), hosts=rng.choice((("home",), ("home", "far"))),
            day_micros=rng.choice((8_000_000, 60_000_000)),
        )  # fmt: skip
        drawn = draw_faults(rng)
        self.faults = drawn if faults is None else faults
        self.store, self.hub = Store(settings, bugs), Hub(rng, bugs)
        self.keepers: dict[int, Keeper] = {}
        self.daemons: dict[str, Daemon] = {}
        self.beats: dict[str, float] = {}
        self.asleep: dict[str, float] = {}
        self.clock_off = dict.fromkeys(settings.hosts, 0.0)
        self.received: dict[str, int] = {}
        self.overshoot: dict[str, int] = {}
        self.frozen = False
        self.crash_in: list[int] = []
        self.limited_until = 0.0
        self.cage_until = 0.0
        self.sends_lost = self.hints_lost = 0
        self.calm = False
        self.events = 0
        self._heap: list[tuple[float, int, str, Callable[[], None], object]] = []
        self._seq = count()
        self.promises = Promises(self)
        self.operator, self.nemesis = Operator(self), Nemesis(self)
        self.store.on_commit = self._committed
        self.hub.on_tip = self.promises.on_tip

    # ---- time

    def after(self, delay: float, name: str, act: Callable[[], None], owner: object = None) -> None:
        """Something happens later; an event of a dead daemon happens to nobody."""
        at = self.store.now + delay
        heapq.heappush(self._heap, (at, next(self._seq), name, act, owner))

    def log(self, text: str) -> None:
        if self.trace is not None:
            self.trace.append(f"{self.store.now:10.2f} {text}")

    def run(self) -> World:
        """From the first event until all is quiet; raises what promise was broken."""
        self._begin()
        while self._heap and self.events < MOST_EVENTS:
            at, seq, name, act, owner = heapq.heappop(self._heap)
            host = getattr(owner, "host", "")
            if not getattr(owner, "alive", True):
                continue
            if self.asleep.get(host, 0.0) > at:
                heapq.heappush(self._heap, (self.asleep[host], seq, name, act, owner))
                continue
            self.store.now = max(self.store.now, at)
            self.events += 1
            if self.trace is not None and name != "tick":
                self.log(f"{name} {host}")
            act()
            if self.calm and self._is_over():
                break
        self.promises.at_the_end()
        return self

    def _begin(self) -> None:
        rng, store = self.rng, self.store
        roles = ["dev"] * rng.choice((1, 2, 3)) + ["qa"] * rng.choice((1, 2)) + ["planner", "pm"]
        for role in roles:
            id = store.next_id()
            store.agents[id] = Agent(id, role)
        for _ in range(rng.choice((1, 2, 3))):
            store.add_goal()
        for _ in range(rng.choice((1, 2, 4))):
            self.add_task(None, kind=rng.choice(("code", "code", "job")))
        for host in store.settings.hosts:
            self.start_daemon(host)
        for fault in self.faults:
            self.after(fault.at, f"fault {fault.kind}", lambda f=fault: self.nemesis.strike(f))
        self.operator.begin()
        self.after(LOOK_S, "look", self._look)
        self.after(CHAOS_S, "calm", self._calm_down)

    def _look(self) -> None:
        self.promises.stalled()
        self.after(LOOK_S, "look", self._look)

    def _calm_down(self) -> None:
        """Faults end; the operator answers everything; all must come to its end."""
        self.calm, self.store.up, self.store.lose_next = True, True, ""
        self.crash_in.clear()
        self.nemesis.races.clear()
        self.clock_off = dict.fromkeys(self.clock_off, 0.0)
        self.sends_lost = self.hints_lost = 0
        self.frozen = False

    def _is_over(self) -> bool:
        store = self.store
        if store.live or self.frozen or not store.up:
            return False
        tasks = all(self.promises.may_rest(t) for t in store.tasks.values())
        goals = all(g.state in ("done", "withdrawn", "blocked", "planned")
                    for g in store.goals.values())  # fmt: skip
        sent = all(m.state == "sent" for m in store.outbox.values())
        done = all(i.state in ("landed", "void") for i in store.landings.values())
        return tasks and goals and sent and done and not self.operator.has_work()

    def is_healthy(self) -> bool:
        """Whether somebody could have looked: the database and the home daemon are up and awake."""
        awake = self.asleep.get("home", 0.0) <= self.store.now
        return self.store.up and awake and self.daemons["home"].alive

    def _committed(self, moves: list) -> None:
        self.promises.on_commit(moves)
        if moves and self.trace is not None:
            for move in moves:
                self.log(f"  {move.kind} {move.id}: {move.was} {move.event}> {move.state}"
                         f" {move.reason}")  # fmt: skip
        if self.hints_lost:
            self.hints_lost -= 1
            return
        for daemon in self.daemons.values():
            if daemon.alive and moves:
                daemon.hint()

    # ---- daemons and their runs

    def start_daemon(self, host: str) -> None:
        self.beats.setdefault(host, self.store.now)
        self.daemons[host] = Daemon(self, host)
        self.after(0.1, "daemon starts", self.daemons[host].start, self.daemons[host])

    def kill_daemon(self, host: str, away_s: float) -> None:
        """kill -9: memory, activities and tests are gone; keepers live on."""
        if self.daemons[host].alive:
            self.daemons[host].alive = False
            self.after(away_s, f"restart {host}", lambda: self.start_daemon(host))
            self.after(processes.NO_DAEMON_S + 1, "no daemon", lambda: self._no_daemon(host))

    def _no_daemon(self, host: str) -> None:
        if not self.daemons[host].alive:
            for process in self.keepers.values():
                if process.host == host:
                    process.end("no_daemon", "no daemon for ten minutes")

    def crash_point(self, daemon: Daemon) -> None:
        """Every pause of an activity is one: the n-th from now on may be the last."""
        if self.crash_in:
            self.crash_in[0] -= 1
            if self.crash_in[0] <= 0:
                self.crash_in.pop(0)
                self.kill_daemon(daemon.host, self.rng.uniform(1, 60))

    def launch(self, run: Run) -> None:
        """The keeper holds a lock in the run's folder: a second one cannot be."""
        if run.id in self.keepers:
            if self.keepers[run.id].alive:
                raise Violation("7 one process", f"run {run.id} was started a second time")
            return
        rng = self.rng
        plans = processes.MIXED[run.role]
        plan = processes.GOOD[run.role] if self.calm else rng.choice(plans)
        if self.limited_until > self.store.now:
            plan = "limit"
        process = Keeper(run.id, run.role, run.host, plan, run.reserved, self.limited_until)
        if plan == "limit" and process.resets_at <= self.store.now:
            process.resets_at = self.store.now + rng.uniform(60, 600)
        process.started = process.last_output = self.store.now
        self.keepers[run.id] = process
        self.after(rng.uniform(1, 5), "agent init", lambda: self._agent(process, 0), process)

    def _agent(self, process: Keeper, step: int) -> None:
        """One event of an agent: its first line, a call, silence, its end."""
        now, rng = self.store.now, self.rng
        if self.frozen:
            process.end("frozen", "kill switch")
        elif process.hanging or (process.plan == "hang" and step >= 2):
            wait = process.last_output + processes.IDLE_S - now
            if wait <= 0:
                process.end("idle", "no output")
        elif step == 0:
            process.delivered, process.last_output = process.plan != "session_gone", now
        elif now - process.started > processes.WALL_S:
            process.end("wall", "wall limit")
        elif step >= 4 and process.plan != "greedy":
            process.finish()
        else:
            process.call(rng)
            process.last_output = now
        if process.alive:
            self.after(rng.uniform(5, 60), "agent", lambda: self._agent(process, step + 1), process)
        elif self.daemons[process.host].alive and self.store.up:
            self.daemons[process.host].hint()

    def cage_is_broken(self) -> bool:
        return self.cage_until > self.store.now

    def flakes(self) -> bool:
        return not self.calm and self.rng.random() < 0.04

    def deliver(self, dedupe: str) -> bool:
        """The message's way out; the receiver knows a second copy by its key."""
        if self.sends_lost:
            self.sends_lost -= 1
            return False
        self.received[dedupe] = self.received.get(dedupe, 0) + 1
        return True

    # ---- the truth of the work

    def new_change(self) -> int:
        return self.hub.new_change() if self.calm else self.hub.new_change(0.12, 0.12, 0.15)

    def truth_of_candidate(self) -> tuple[bool, str]:
        """Red in the check; what a person must allow, and where it shows."""
        if self.calm:
            return False, ""
        return self.rng.random() < 0.12, self.rng.choice(("",) * 12 + ("review", "merge"))

    def add_task(self, goal: int | None, kind: str = "code", needs: tuple[int, ...] = ()) -> Task:
        scope = (f"src/{self.rng.randrange(6)}/**",)
        return self.store.add_task(goal=goal, kind=kind, needs=needs, scope=scope)

    def adopt_plan(self, goal: Goal) -> None:
        """One to three tasks, some in a chain."""
        last: tuple[int, ...] = ()
        for _ in range(self.rng.choice((1, 2, 3))):
            kind = self.rng.choice(("code",) * 6 + ("job",))
            task = self.add_task(goal.id, kind, last if self.rng.random() < 0.6 else ())
            last = (task.id,)

    def judge_job(self, task: Task) -> None:
        """A job's proof: there, late, missing, or not to be had."""
        events = ("prove", "prove", "prove", "miss", "redo", "give_up")
        event = "prove" if self.calm else self.rng.choice(events)
        if event == "miss":
            with self.store.tx():
                self.store.ask("proof", task=task.id)
                self.store.move_task(task.id, "miss", return_to="proof", owner="operator")
        elif event == "give_up":
            self.store.move_task(task.id, event, reason="not_proven", owner="operator")
        else:
            self.store.move_task(task.id, event)
