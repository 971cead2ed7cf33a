"""The simulated daemon: the pipeline's stages, each decision by the shipped policies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from clawd.policy import budget, outcome, schedule
from clawd.policy.failure import REASONS, Owner, Reason
from clawd.policy.outcome import Ending, Kind, Outcome
from clawd.policy.scope import overlaps
from clawd.policy.tier import DEFAULT_TIERS, TierName
from tests.sim.keeper import Keeper
from tests.sim.rows import (
    Agent,
    Bug,
    Candidate,
    DbDown,
    Fenced,
    Goal,
    IllegalMove,
    NoRoom,
    Refused,
    Run,
    Task,
    Verdict,
)
from tests.sim.train import Train

if TYPE_CHECKING:
    from tests.sim.world import World

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
TICK_S, START_GRACE_S, OTHER_HOST_S, PLAN_TRIES, QA_FAILURES = 15.0, 300.0, 600.0, 2, 3
TIER = DEFAULT_TIERS[TierName.INTERN]
RUN_EVENTS = {
    Kind.COMPLETED: "complete", Kind.ASK: "complete", Kind.CANCELLED: "cancel",
    Kind.FENCED: "fence", Kind.LOST: "lose",
}  # fmt: skip
FENCED = Outcome(Kind.FENCED, Reason.FENCED, "the task is somebody else's")


def moment(seconds: float) -> datetime:
    """Virtual seconds as the policies want them."""
    return EPOCH + timedelta(seconds=seconds)


def seconds(at: datetime | None) -> float:
    return (at - EPOCH).total_seconds() if at else 0.0


class Daemon:
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
            self.world.after(0.5, "hint", self._hinted, self)

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

    # ---- settling

    def _settle_ended(self) -> None:
        for run in self._mine():
            keeper = self.world.keepers.get(run.id)
            if run.id not in self.busy and (keeper is None or not keeper.alive):
                self.go("settle", self.settle(run), run.id)

    def settle(self, run: Run) -> Iterator[float]:
        """One ended run; safe to repeat, safe to do twice at once."""
        keeper = self.world.keepers.get(run.id) or Keeper(
            run.id, run.role, run.host, "none", run.reserved, alive=False, why="lost"
        )
        task = self.store.tasks.get(run.task or 0)
        if task is not None and task.run != run.id and Bug.NO_FENCE not in self.bugs:
            yield 0.3
            self._close(run, keeper, FENCED)
            return
        commit = self._take_out(run, keeper) if run.role == "dev" else None
        yield 0.3
        judged = self._judge(run, keeper, commit)
        try:
            with self.store.tx():
                if Bug.NO_FENCE not in self.bugs or run.id in self.store.live:
                    self._close(run, keeper, judged)
                self._settle_by_role(run, keeper, judged, commit)
        except (Fenced, IllegalMove):
            yield 0.3
            self._close(run, keeper, FENCED)

    def _take_out(self, run: Run, keeper: Keeper) -> int | None:
        """The candidate in the hub, by its ref: a second time finds the first."""
        if keeper.why != "exit" or keeper.plan not in ("work", "no_change"):
            return None
        if run.id not in self.hub.refs:
            base = self.hub.commits[run.base]
            change = self.world.new_change() if keeper.plan == "work" else 0
            tree = base.tree | {change} if change else base.tree
            self.hub.refs[run.id] = self.hub.commit((base.id,), tree, "candidate").id
        return self.hub.refs[run.id]

    def _judge(self, run: Run, keeper: Keeper, commit: int | None) -> Outcome:
        judged = outcome.judge(
            keeper.facts(EPOCH.timestamp()),
            Ending(keeper.rc, keeper.why, keeper.reason),
            now=moment(self.store.now),
            wants_schema=run.role != "dev",
            has_candidate=commit is not None if run.role == "dev" else None,
            asks=keeper.plan == "ask",
            capped_by_envelope=run.capped,
        )
        if keeper.plan == "too_big" and judged.kind in (Kind.COMPLETED, Kind.FAILED):
            judged = Outcome(Kind.FAILED, Reason.CANDIDATE_REFUSED, "too many lines")
        if Bug.LIMIT_CHARGED in self.bugs and judged.reason is Reason.RATE_LIMITED:
            judged = replace(judged, kind=Kind.FAILED)
        return judged

    def _close(self, run: Run, keeper: Keeper, judged: Outcome) -> None:
        """Money booked, row ended, agent and reservation free; an account's limit pauses all."""
        reason = judged.reason.value if judged.reason else ""
        with self.store.tx():
            spent = self.store.book(run, keeper.calls)
            over = max(0, spent - run.reserved)
            for name in ("day", f"task:{run.task}"):
                self.world.overshoot[name] = self.world.overshoot.get(name, 0) + over
            self.store.move_run(
                run.id, RUN_EVENTS.get(judged.kind, "fail"), reason=reason, spent=spent
            )
            self.world.promises.booked(run.id, spent)
            account = judged.reason and REASONS[judged.reason].owner is Owner.ACCOUNT
            if judged.kind is Kind.YIELD and account and judged.not_before:
                until = max(self.store.project.paused_until, seconds(judged.not_before))
                self.store.put(self.store.project, paused_until=until, pause_why=reason)
                self.store.tell(f"account:{reason}:{run.id}")

    def _settle_by_role(
        self, run: Run, keeper: Keeper, judged: Outcome, commit: int | None
    ) -> None:
        if run.role == "dev":
            self._settle_dev(self.store.tasks[run.task or 0], run, keeper, judged, commit)
        elif run.role == "qa":
            self._settle_qa(self.store.tasks[run.task or 0], run, keeper, judged)
        elif run.role == "planner":
            self._settle_planner(self.store.goals[run.goal or 0], run, keeper, judged)
        else:
            self._settle_pm(run, keeper, judged)

    def _settle_dev(
        self, task: Task, run: Run, keeper: Keeper, judged: Outcome, commit: int | None
    ) -> None:
        store = self.store
        match judged.kind:
            case Kind.COMPLETED:
                assert commit is not None
                if task.kind == "job":
                    store.move_task(task.id, "deliver", fence=run.fence, run=run.id)
                    return
                made = Candidate(store.next_id(), task.id, run.id, commit)
                made.no_change = keeper.plan == "no_change"
                made.red_check, made.held = self.world.truth_of_candidate()
                store.add(store.candidates, made.id, made)
                store.move_task(task.id, "finish", fence=run.fence, run=run.id, candidate=made.id)
            case Kind.ASK:
                store.ask("question", task=task.id)
                store.move_task(
                    task.id, "ask", fence=run.fence, run=run.id, return_to="dev",
                    reason="question", owner="operator",
                )  # fmt: skip
            case Kind.FAILED:
                self.charge(task, "fail", judged.reason or Reason.CRASHED, run.fence, run.id)
            case Kind.HOLD:
                store.ask("envelope", task=task.id)
                store.move_task(
                    task.id, "hold", fence=run.fence, run=run.id, return_to="dev",
                    reason="envelope_empty", owner="operator",
                )  # fmt: skip
            case _:
                self._put_back(task, run, judged)

    def _put_back(self, task: Task, run: Run, judged: Outcome) -> None:
        event = {Kind.LOST: "lose", Kind.FAILED: "fail"}.get(judged.kind, "yield")
        self.store.move_task(
            task.id, event, fence=run.fence, run=run.id, reason=(judged.reason or Reason.LOST).value,
            not_before=seconds(judged.not_before),
        )  # fmt: skip

    def charge(
        self, task: Task, event: str, reason: Reason, fence: int | None, run: int | None
    ) -> None:
        """One more try, or parked when this was the last."""
        if task.tries + 1 >= self.store.settings.tries:
            self.park(task, Reason.TRIES, fence, run)
        else:
            self.store.move_task(task.id, event, fence=fence, run=run, reason=reason.value)

    def park(self, task: Task, reason: Reason, fence: int | None, run: int | None) -> None:
        with self.store.tx():
            self.store.move_task(
                task.id, "give_up", fence=fence, run=run, reason=reason.value, owner="operator"
            )
            self.store.void_asks(task.id)
            self.store.tell(f"parked:{task.id}:{task.fence}")

    def _settle_qa(self, task: Task, run: Run, keeper: Keeper, judged: Outcome) -> None:
        store = self.store
        if judged.kind is not Kind.COMPLETED:
            failed = [
                r for r in store.runs.values()
                if r.task == task.id and r.role == "qa" and r.state == "failed"
                and r.id > store.candidates[task.candidate or 0].run
            ]  # fmt: skip
            if judged.kind is Kind.FAILED and len(failed) >= QA_FAILURES:
                self.park(task, judged.reason or Reason.CRASHED, run.fence, run.id)
            else:
                self._put_back(task, run, judged)
            return
        if task.contract != run.contract:
            store.move_task(task.id, "yield", fence=run.fence, run=run.id, reason="edited")
            return
        answer = "revise" if keeper.plan == "revise" else "pass"
        store.verdicts.append(Verdict(task.id, run.candidate or 0, run.contract, answer))
        candidate = store.candidates[task.candidate or 0]
        if answer == "pass" and candidate.held == "review":
            store.put(candidate, held="")
            store.ask("protected", task=task.id)
            store.move_task(
                task.id, "hold", fence=run.fence, run=run.id, return_to="review",
                reason="held", owner="operator",
            )  # fmt: skip
        elif answer == "pass":
            event = "no_change" if candidate.no_change else "pass"
            store.move_task(task.id, event, fence=run.fence, run=run.id)
        elif task.round >= store.settings.rounds:
            self.park(task, Reason.REVIEW_ROUNDS, run.fence, run.id)
        else:
            author = store.runs[candidate.run].agent
            store.move_task(
                task.id, "revise", fence=run.fence, run=run.id, reason="revise",
                prefer_agent=author, prefer_until=store.now + 600,
            )  # fmt: skip

    def _settle_planner(self, goal: Goal, run: Run, keeper: Keeper, judged: Outcome) -> None:
        store = self.store
        if goal.state != "planning":
            return
        flawed = keeper.plan == "flawed" or judged.reason is Reason.BAD_OUTPUT
        if judged.kind is Kind.COMPLETED and keeper.plan == "plan":
            self.world.adopt_plan(goal)
            store.move_goal(goal.id, "planned", run=run.id)
        elif judged.kind is Kind.COMPLETED and keeper.plan == "question":
            self._block(goal, run, "ask")
        elif flawed or judged.kind is Kind.FAILED:
            if goal.plan_tries + 1 < PLAN_TRIES:
                store.move_goal(goal.id, "refuse" if flawed else "fail", run=run.id)
            else:
                self._block(goal, run, "give_up")
        else:
            until = max(seconds(judged.not_before), store.now + 5)
            store.move_goal(goal.id, "yield", run=run.id, not_before=until)

    def _block(self, goal: Goal, run: Run, event: str) -> None:
        self.store.ask("question", goal=goal.id)
        self.store.move_goal(goal.id, event, run=run.id, reason="question", owner="operator")

    def _settle_pm(self, run: Run, keeper: Keeper, judged: Outcome) -> None:
        for goal in self.store.goals.values():
            if goal.state != "seen" or goal.specified:
                continue
            if judged.kind is Kind.COMPLETED and keeper.plan == "question":
                self._block(goal, run, "ask")
            elif judged.kind is Kind.COMPLETED:
                self.store.put(goal, specified=True)
            else:
                until = max(seconds(judged.not_before), self.store.now + 60)
                self.store.put(goal, not_before=until)

    # ---- giving out work

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
            self.world.short_of_money(task, granted.refusal)
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
        try:
            yield self.world.rng.uniform(2, 20)
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
