"""The simulated operator: every human verb, at random in chaos, helpful in calm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clawd import machine
from tests.sim.rows import Approval, DbDown, Goal, Refused, Task

if TYPE_CHECKING:
    from tests.sim.world import World

VERBS = ("answer", "answer", "answer", "answer", "roadmap", "edit", "cancel", "retry", "retry",
         "reopen", "undo", "add", "raise", "raise", "new_goal")  # fmt: skip
ROADMAP = ("edit", "withdraw", "finish", "answer", "reappear", "reopen")
RESUMES = {
    "dev": "resume_dev", "review": "resume_review", "merge": "resume_merge",
    "proof": "resume_proof",
}  # fmt: skip


class Operator:
    """Answers, edits, cancels, undoes; writes only through the moves everybody uses."""

    QUIET = ("done", "cancelled", "rolled_back", "parked")

    def __init__(self, world: World) -> None:
        self.world, self.store = world, world.store

    def begin(self) -> None:
        self._plan_next()

    def _plan_next(self) -> None:
        wait = 60.0 if self.world.calm else self.world.rng.uniform(20, 160)
        self.world.after(wait, "operator", self._act)

    def _act(self) -> None:
        verb = "help" if self.world.calm else self.world.rng.choice(VERBS)
        self.world.log(f"  operator: {verb}")
        try:
            getattr(self, f"_{verb}")()
        except (DbDown, Refused) as error:
            self.world.log(f"  operator: {error!r}")
        self._plan_next()

    def _pick(self, *states: str) -> Task | None:
        found = [t for t in self.store.tasks.values() if t.state in states]
        return self.world.rng.choice(found) if found else None

    def has_work(self) -> bool:
        """Whether something still waits for the operator's help."""
        waiting = any(t.state == "waiting" for t in self.store.tasks.values())
        return waiting or any(g.state == "blocked" for g in self.store.goals.values())

    def _help(self) -> None:
        """In the calm everything is answered and there is money."""
        if self.world.frozen:
            return
        self._raise()
        self.world.nemesis.mend()
        for asked in self.store.approvals.values():
            if asked.state == "open":
                self._settle(asked, "approved")
        for goal in self.store.goals.values():
            if goal.state == "blocked":
                self.store.move_goal(goal.id, "edit")
            elif goal.state == "planned" and not self._works_on(goal):
                self.store.move_goal(goal.id, "finish")

    def _works_on(self, goal: Goal) -> bool:
        ended = self.QUIET
        return any(t.goal == goal.id and t.state not in ended for t in self.store.tasks.values())

    def _answer(self) -> None:
        found = [a for a in self.store.approvals.values() if a.state == "open"]
        if found:
            said = self.world.rng.choice(("approved",) * 5 + ("rejected", "expired"))
            self._settle(self.world.rng.choice(found), said)

    def _settle(self, asked: Approval, said: str) -> None:
        with self.store.tx():
            self.store.put(asked, state=said)
            if asked.goal is not None:
                goal = self.store.goals[asked.goal]
                if goal.state == "blocked" and said == "approved":
                    self.store.move_goal(goal.id, "answer")
                return
            task = self.store.tasks[asked.task or 0]
            if task.state != "waiting":
                return
            if said == "approved":
                if asked.kind == "envelope":
                    self._raise_task(task)
                changes = {"contract": task.contract + 1} if asked.kind == "question" else {}
                self.store.move_task(task.id, RESUMES[task.return_to], front=True, **changes)
            else:
                event = "deny" if said == "rejected" else "expire"
                self.store.move_task(task.id, event, reason=said, owner="operator")

    def _roadmap(self) -> None:
        """An item is reworded, taken out, ticked, put back."""
        if not self.store.goals:
            return
        goal = self.world.rng.choice(list(self.store.goals.values()))
        events = [e for e in ROADMAP if machine.next_state("goal", goal.state, e)]
        event = self.world.rng.choice(events)
        with self.store.tx():
            self.store.move_goal(goal.id, event)
            if event in ("withdraw", "finish"):
                self._drop(goal)

    def _drop(self, goal: Goal) -> None:
        for task in list(self.store.tasks.values()):
            if task.goal == goal.id and "cancel" in machine.TASK[task.state]:
                try:
                    self.store.move_task(task.id, "cancel", reason="withdrawn", owner="operator")
                    self.store.void_asks(task.id)
                except Refused:
                    continue  # it is landing: it lands without its goal

    def _edit(self) -> None:
        """A new contract version: what stands under the old one is done again."""
        task = self._pick("backlog", "claimed", "running", "review", "merging", "parked", "waiting")
        if task is not None:
            self.edit(task)

    def edit(self, task: Task) -> None:
        """One task, by name."""
        version = task.contract + 1
        if task.state == "merging" and self.store.is_landing(task.id):
            return
        with self.store.tx():
            if task.candidate is not None and task.state != "backlog":
                self.store.put(self.store.candidates[task.candidate], check="due")
            if task.state in ("claimed", "running") or (task.state == "review" and task.run):
                self.store.move_task(task.id, "yield", reason="edited", contract=version)
            elif task.state == "merging":
                self.store.move_task(task.id, "review", contract=version)
            else:
                self.store.put(task, contract=version)

    def cancel(self, id: int) -> None:
        """One task, by name."""
        try:
            with self.store.tx():
                self.store.move_task(id, "cancel", reason="cancelled", owner="operator")
                self.store.void_asks(id)
        except (DbDown, Refused) as error:
            self.world.log(f"  operator: {error!r}")

    def _cancel(self) -> None:
        states = [s for s, events in machine.TASK.items() if "cancel" in events]
        task = self._pick(self.world.rng.choice(states))
        if task is not None:
            self.cancel(task.id)

    def _retry(self) -> None:
        self._again("parked", "retry")

    def _reopen(self) -> None:
        self._again("cancelled", "reopen")

    def _again(self, state: str, event: str) -> None:
        task = self._pick(state)
        if task is not None:
            with self.store.tx():
                self.store.drop_gone_needs(task)
                self.store.void_asks(task.id)
                self.store.move_task(task.id, event)

    def _undo(self) -> None:
        """Asks for reverts of a landing and of what was built on it, newest first."""
        task = self._pick("done")
        if task is None:
            return
        built, grown = {task.id}, True
        while grown:
            more = {t.id for t in self.store.tasks.values() if built & set(t.needs)} - built
            built |= more
            grown = bool(more)
        with self.store.tx():
            for row in sorted(self.store.landings.values(), key=lambda i: -i.id):
                stands = row.kind == "land" and row.state == "landed" and row.task in built
                if stands and self.store.tasks[row.task].state in ("verifying", "done"):
                    self._ask_revert(row.task, row.candidate)

    def _ask_revert(self, task: int, candidate: int) -> None:
        try:
            row = self.store.intend(task, "revert", candidate, 0, 0, frozenset())
            self.store.put(row, state="asked")
        except Refused:
            return

    def _add(self) -> None:
        kind = self.world.rng.choice(("code", "job"))
        needs = self._pick("backlog", "running", "merging", "done")
        self.world.add_task(None, kind, (needs.id,) if needs else ())

    def _new_goal(self) -> None:
        self.store.add_goal()

    def _raise(self) -> None:
        with self.store.tx():
            day = self.store.envelopes["day"]
            self.store.put(day, limit=max(day.limit, day.spent + day.reserved + 40_000_000))
            for task in self.store.tasks.values():
                if task.reason == "envelope_empty":
                    self._raise_task(task)

    def _raise_task(self, task: Task) -> None:
        own = self.store.envelopes[f"task:{task.id}"]
        self.store.put(own, limit=max(own.limit, own.spent + own.reserved + 6_000_000))
