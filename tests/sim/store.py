"""The database as schema.sql has it, in memory: moves, fences, leases, counters, envelopes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from clawd import machine
from tests.sim.rows import (
    Agent,
    Approval,
    Bug,
    Candidate,
    DbDown,
    Envelope,
    Fenced,
    Goal,
    IllegalMove,
    Landing,
    Message,
    Move,
    NoRoom,
    Project,
    Run,
    Settings,
    Task,
    Verdict,
)

LEASE_S = 90.0
LIVE = ("created", "context_loaded", "executing")
SETTLED_BY = {"code": ("verifying", "done"), "job": ("done",)}


class Store:
    """Tables and the functions that write them; a transaction that fails leaves nothing."""

    def __init__(self, settings: Settings, bugs: frozenset[Bug]) -> None:
        self.settings, self.bugs = settings, bugs
        self.now = 0.0
        self.up, self.lose_next = True, ""
        self.tasks: dict[int, Task] = {}
        self.goals: dict[int, Goal] = {}
        self.runs: dict[int, Run] = {}
        self.live: dict[int, Run] = {}
        self.agents: dict[int, Agent] = {}
        self.envelopes: dict[str, Envelope] = {"day": Envelope(settings.day_micros)}
        self.candidates: dict[int, Candidate] = {}
        self.verdicts: list[Verdict] = []
        self.landings: dict[int, Landing] = {}
        self.approvals: dict[int, Approval] = {}
        self.outbox: dict[int, Message] = {}
        self.ledger: dict[tuple[int, str], int] = {}
        self.project = Project()
        self.history: list[Move] = []
        self.on_commit: Callable[[list[Move]], None] = lambda moves: None
        self.version = 0
        self._undo: list[Callable[[], None]] = []
        self._moves: list[Move] = []
        self._depth = 0
        self._ids = 0

    # ---- transactions

    def tx(self) -> Store:
        """All or nothing; an outage may strike before the commit or after it."""
        return self

    def __enter__(self) -> None:
        if not self.up:
            raise DbDown
        self._depth += 1

    def __exit__(self, kind: object, *_: object) -> None:
        self._depth -= 1
        if self._depth:
            return
        if kind is not None:
            self._roll_back()
        elif self.lose_next == "before":
            self.lose_next = ""
            self._roll_back()
            raise DbDown
        else:
            self._commit()

    def _roll_back(self) -> None:
        while self._undo:
            self._undo.pop()()
        self._moves.clear()

    def _commit(self) -> None:
        self._undo.clear()
        moves, self._moves = self._moves, []
        self.version += 1
        self.history += moves
        self.on_commit(moves)
        if self.lose_next == "after":
            self.lose_next = ""
            raise DbDown

    def put(self, row: Any, **changes: Any) -> None:
        """Writes columns, to be taken back when the transaction fails."""
        old = [(name, getattr(row, name)) for name in changes]
        self._undo.append(lambda: _restore(row, old))
        for name, value in changes.items():
            setattr(row, name, value)

    def add(self, table: dict[Any, Any], key: Any, row: Any) -> Any:
        """A new row, gone again when the transaction fails."""
        table[key] = row
        self._undo.append(lambda: table.pop(key, None))
        return row

    def next_id(self) -> int:
        self._ids += 1
        return self._ids

    # ---- tasks

    def add_task(self, **columns: Any) -> Task:
        with self.tx():
            task = Task(self.next_id(), queued_at=self.now, **columns)
            unmet = frozenset(n for n in task.needs if not self.is_met(n))
            task.unmet = unmet
            self.add(self.envelopes, f"task:{task.id}", Envelope(self.settings.task_micros))
            return self.add(self.tasks, task.id, task)

    def is_met(self, need: int) -> bool:
        other = self.tasks[need]
        return other.state in SETTLED_BY[other.kind]

    def move_task(
        self,
        id: int,
        event: str,
        *,
        fence: int | None = None,
        run: int | None = None,
        **changes: Any,
    ) -> Task:
        """clawd_move and clawd_write_move."""
        with self.tx():
            task = self.tasks[id]
            if fence is not None and task.fence != fence and Bug.NO_FENCE not in self.bugs:
                raise Fenced(f"task {id} has fence {task.fence}, the writer holds {fence}")
            target = machine.next_state("task", task.state, event)
            if target is None:
                raise IllegalMove(f"task {id} is {task.state}: {event} is not possible")
            if event == "cancel" and task.state == "merging" and self.is_landing(id):
                raise IllegalMove(f"task {id} is landing right now")
            move = Move("task", id, task.state, event, target, run, fence, task.fence, task.run)
            ends_lease = task.run is not None and event not in ("claim", "start")
            columns = self._columns(task, target, event, ends_lease, changes)
            self.put(task, **columns)
            move.reason = task.reason
            self._moves.append(move)
            if target != move.was:
                self._settle_dependants(task)
            return task

    def is_landing(self, task: int) -> bool:
        """Past the point of no return: main is being moved for it."""
        if Bug.CANCEL_WHILE_LANDING in self.bugs:
            return False
        return any(i.task == task and i.state == "intent" for i in self.landings.values())

    def _columns(
        self, task: Task, target: str, event: str, ends_lease: bool, changes: dict[str, Any]
    ) -> dict[str, Any]:
        columns = dict(changes)
        columns["state"] = target
        columns["fence"] = task.fence + (event == "claim" or ends_lease)
        counter = machine.CHARGES.get(event)
        if event in ("retry", "reopen"):
            columns.update(tries=0, round=0, bounces=0)
        elif counter == "round" and Bug.ROUND_NOT_COUNTED in self.bugs:
            pass
        elif counter and (task.state, event) not in machine.UNCHARGED:
            columns[counter] = getattr(task, counter) + 1
        if ends_lease:
            columns.update(run=None, lease_until=0.0, host="")
        if target != task.state:
            columns["queued_at"] = self.now
            for name, empty in (("reason", ""), ("owner", "clawd"), ("front", False),
                                ("not_before", 0.0)):  # fmt: skip
                columns.setdefault(name, empty)
        return columns

    def _settle_dependants(self, task: Task) -> None:
        early = Bug.EARLY_DEPENDANTS in self.bugs and task.state == "merging"
        if task.state in SETTLED_BY[task.kind] or early:
            for other in self.tasks.values():
                if task.id in other.unmet:
                    self.put(other, unmet=other.unmet - {task.id})
        elif task.state in ("cancelled", "rolled_back"):
            for other in list(self.tasks.values()):
                if task.id in other.needs and other.state == "backlog":
                    self.move_task(other.id, "park", reason="dependency_gone", owner="operator")

    def drop_gone_needs(self, task: Task) -> None:
        """A retried task goes on without what will not come."""
        gone = {n for n in task.unmet if self.tasks[n].state in ("cancelled", "rolled_back")}
        needs = tuple(n for n in task.needs if n not in gone)
        self.put(task, unmet=task.unmet - gone, needs=needs)

    # ---- goals and runs

    def add_goal(self) -> Goal:
        with self.tx():
            goal = Goal(self.next_id())
            return self.add(self.goals, goal.id, goal)

    def move_goal(self, id: int, event: str, run: int | None = None, **changes: Any) -> Goal:
        """clawd_move_goal."""
        with self.tx():
            goal = self.goals[id]
            target = machine.next_state("goal", goal.state, event)
            if target is None:
                raise IllegalMove(f"goal {id} is {goal.state}: {event} is not possible")
            self._moves.append(Move("goal", id, goal.state, event, target, run))
            columns = dict(changes, state=target)
            tries = goal.plan_tries + 1 if event in ("refuse", "fail") else goal.plan_tries
            columns["plan_tries"] = 0 if target == "seen" else tries
            if target != goal.state:
                for name, empty in (("reason", ""), ("owner", "clawd"), ("not_before", 0.0)):
                    columns.setdefault(name, empty)
            self.put(goal, **columns)
            return goal

    def move_run(self, id: int, event: str, **changes: Any) -> Run:
        """clawd_move_run: ending a run frees its agent and its money."""
        with self.tx():
            run = self.runs[id]
            target = machine.next_state("run", run.state, event)
            if target is None:
                raise IllegalMove(f"run {id} is {run.state}: {event} is not possible")
            self._moves.append(Move("run", id, run.state, event, target, id))
            self.put(run, state=target, **changes)
            if target in machine.ENDED["run"]:
                self._end_run(run)
            return run

    def _end_run(self, run: Run) -> None:
        self.live.pop(run.id, None)
        self._undo.append(lambda: self.live.__setitem__(run.id, run))
        agent = self.agents[run.agent]
        if agent.live_run == run.id:
            self.put(agent, live_run=None)
        for envelope in self._envelopes_of(run):
            back = 0 if Bug.NOT_RESERVED in self.bugs else run.reserved
            self.put(envelope, reserved=envelope.reserved - back, spent=envelope.spent + run.spent)

    def _envelopes_of(self, run: Run) -> list[Envelope]:
        names = ["day"] + ([f"task:{run.task}"] if run.task is not None else [])
        return [self.envelopes[name] for name in names]

    def open_run(self, role: str, agent: Agent, host: str, reserved: int, **columns: Any) -> Run:
        """clawd_open_run."""
        with self.tx():
            run = Run(self.next_id(), role, agent.id, host, reserved=reserved, **columns)
            if agent.live_run is not None:
                raise NoRoom("the agent is busy")
            self.put(agent, live_run=run.id)
            for envelope in self._envelopes_of(run):
                if envelope.spent + envelope.reserved + reserved > envelope.limit:
                    raise NoRoom("the envelope has no room")
                if Bug.NOT_RESERVED not in self.bugs:
                    self.put(envelope, reserved=envelope.reserved + reserved)
            self.add(self.live, run.id, run)
            return self.add(self.runs, run.id, run)

    def claim(self, task: Task, role: str, agent: Agent, host: str, **columns: Any) -> Run | None:
        """clawd_claim."""
        with self.tx():
            wanted = "review" if role == "qa" else "backlog"
            if task.run is not None or task.state != wanted or task.not_before > self.now:
                return None
            if role != "qa" and task.unmet:
                return None
            run = self.open_run(
                role, agent, host, task=task.id, fence=task.fence + 1, contract=task.contract,
                candidate=task.candidate, **columns,
            )  # fmt: skip
            self.move_task(task.id, "claim", run=run.id, lease_until=self.now + LEASE_S, host=host)
            self.put(task, run=run.id)
            return run

    def heartbeat(self, host: str) -> set[int]:
        """clawd_heartbeat over the host's live runs; the runs that still hold their task."""
        with self.tx():
            held: set[int] = set()
            for run in self.live.values():
                if run.host != host or run.task is None:
                    continue
                task = self.tasks[run.task]
                if task.run == run.id and task.fence == run.fence:
                    self.put(task, lease_until=self.now + LEASE_S)
                    held.add(run.id)
            return held

    def book(self, run: Run, entries: list[tuple[str, int]]) -> int:
        """What a run spent, each reply once."""
        with self.tx():
            for request, micros in entries:
                key = (run.id, request)
                if key not in self.ledger:
                    self.add(self.ledger, key, micros)
            return sum(micros for (owner, _), micros in self.ledger.items() if owner == run.id)

    # ---- landings, questions, messages

    def intend(
        self, task: int, kind: str, candidate: int, old: int, new: int, tree: frozenset[int]
    ) -> Landing:
        """The intent, unique for a task and kind until it is void."""
        with self.tx():
            for other in self.landings.values():
                if (other.task, other.kind) == (task, kind) and other.state != "void":
                    raise IllegalMove(f"task {task} has a {kind} already")
            row = Landing(self.next_id(), task, kind, candidate, old, new, tree)
            return self.add(self.landings, row.id, row)

    def ask(self, kind: str, task: int | None = None, goal: int | None = None) -> Approval:
        with self.tx():
            row = Approval(self.next_id(), task, goal, kind)
            self.tell(f"ask:{row.id}")
            return self.add(self.approvals, row.id, row)

    def void_asks(self, task: int) -> None:
        for row in self.approvals.values():
            if row.task == task and row.state == "open":
                self.put(row, state="void")

    def tell(self, dedupe: str) -> None:
        """A message to the operator, written in the transaction it tells of."""
        if not any(m.dedupe == dedupe for m in self.outbox.values()):
            row = Message(self.next_id(), dedupe)
            self.add(self.outbox, row.id, row)


def _restore(row: Any, old: list[tuple[str, Any]]) -> None:
    for name, value in old:
        setattr(row, name, value)
