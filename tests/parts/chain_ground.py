"""What a task must look like after its moves, kept in Python; helpers of the tests of moves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from clawd import machine
from clawd.model import Run
from clawd.store import moves
from clawd.store.rows import Db
from tests.parts.steer_ground import DAY, HOST

EVENTS = {
    kind: sorted({event for events in table.values() for event in events})
    for kind, table in machine.TABLES.items()
}
EVERY_MOVE = [(state, event) for state, events in machine.TASK.items() for event in events]
WRITTEN = ("history", "lineage", "outbox", "run", "task", "goal", "envelope")


@dataclass
class Shadow:
    """What a task must look like, kept in Python."""

    state: str = "backlog"
    fence: int = 0
    tries: int = 0
    round: int = 0
    bounces: int = 0
    lease: int | None = None

    def move(self, event: str, run: int | None = None) -> None:
        """One legal move, by the rules of machine.py."""
        target = machine.next_state("task", self.state, event)
        assert target is not None
        counter = machine.CHARGES.get(event)
        if event in ("retry", "reopen"):
            self.tries = self.round = self.bounces = 0
        elif counter and (self.state, event) not in machine.UNCHARGED:
            setattr(self, counter, getattr(self, counter) + 1)
        if event == "claim":
            self.fence, self.lease = self.fence + 1, run
        elif self.lease is not None and event != "start":
            self.fence, self.lease = self.fence + 1, None
        self.state = target


def written(db: Db) -> list[Any]:
    """Everything a move may touch, to see that a refusal touched nothing."""
    counts = [
        db.execute(
            f"select count(*) as n, max(xmin::text::bigint) as last from {table}"  # noqa: S608
        ).fetchone()
        for table in WRITTEN
    ]
    return [(row["n"], row["last"]) for row in counts if row is not None]


def way(state: str, wanted: tuple[str, str]) -> list[str]:
    """The events that lead from a state to a move and make it; nothing when there is no way."""
    ways: dict[str, list[str]] = {state: []}
    left = [state]
    while left:
        here = left.pop(0)
        if here == wanted[0]:
            return [*ways[here], wanted[1]]
        for event, target in machine.TASK[here].items():
            if target not in ways:
                ways[target] = [*ways[here], event]
                left.append(target)
    return []


def count(db: Db, table: str) -> int:
    row = db.execute(f"select count(*) as n from {table}").fetchone()  # noqa: S608
    assert row is not None
    return int(row["n"])


def claim(db: Db, task: int, role: str, agent: int) -> Run | None:
    return moves.claim(db, moves.Claim(
        (task,), role, agent, HOST, timedelta(seconds=90),
        {"reserved_micros": 100, "limits": {"day": DAY}}, "it is free",
    ))  # fmt: skip


def assert_history_replays(db: Db) -> None:
    """From the first state on, history alone leads to every row as it is."""
    first = {"task": "backlog", "goal": "seen", "run": "created"}
    now: dict[tuple[str, int], str] = {}
    fences: dict[int, int] = {}
    for row in db.execute("select * from history order by id"):
        key = (row["kind"], row["subject"])
        assert row["from_state"] == now.get(key, first[row["kind"]])
        assert machine.next_state(row["kind"], row["from_state"], row["event"]) == row["to_state"]
        now[key] = row["to_state"]
        if row["kind"] == "task":
            assert row["fence"] >= fences.get(row["subject"], 0)
            fences[row["subject"]] = row["fence"]
    for kind, state in first.items():
        for row in db.execute(f"select id, state from {kind}"):  # noqa: S608
            assert row["state"] == now.get((kind, row["id"]), state)
