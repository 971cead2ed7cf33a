"""How the simulated daemon settles ended runs: judged by the shipped outcome rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from clawd.policy import outcome
from clawd.policy.failure import REASONS, Owner, Reason
from clawd.policy.outcome import Ending, Kind, Outcome
from tests.sim.keeper import Keeper
from tests.sim.rows import Bug, Candidate, Fenced, Goal, IllegalMove, Run, Task, Verdict

if TYPE_CHECKING:
    from tests.sim.hub import Hub
    from tests.sim.store import Store
    from tests.sim.world import World

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
PLAN_TRIES, QA_FAILURES = 2, 3
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


class Settling:
    """The end of a run, for each role; safe to repeat after a crash."""

    world: World
    store: Store
    hub: Hub
    bugs: frozenset[Bug]

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
            task.id, event, fence=run.fence, run=run.id,
            reason=(judged.reason or Reason.LOST).value,
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
