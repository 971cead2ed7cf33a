#!/usr/bin/env python3
"""What a claim costs: bare, accounted for, with the run it opens, decided; and another queue."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.figures import bar, machine, median, percentile, private_home
from clawd import config as configuration
from clawd.adapters import postgres, server
from clawd.model import Contract, Facts
from clawd.pipeline import claim as pipeline
from clawd.pipeline.desk import Desk
from clawd.store import agents, ledger, moves, projects, schema, tasks
from clawd.store.rows import Db

DAY = "2026-01-01"
PLENTY_MICROS = 10**15
LEASE = timedelta(seconds=90)
REQUEST = {
    "reserved_micros": 2_000_000, "tier": "intern", "model": "m", "network": "open",
    "session": "00000000-0000-4000-8000-000000000000", "resumes": None,
    "limits": {"turns": 60, "minutes": 30, "usd": 2.0, "capped": False, "diff_lines": 400,
               "day": DAY},
}  # fmt: skip
# The same columns, indexes and fill factor as the real one, and nothing that accounts for it.
BARE = """
create table bare (like task including all);
"""
BARE_CLAIM = """
update bare set state = 'claimed', fence = fence + 1, host = %s, changed_at = now(),
  lease_until = now() + %s
where id = (select id from bare where project = %s and state = 'backlog' and deps_open = 0
  order by front desc, priority, id for update skip locked limit 1)
returning id, fence
"""
# The same pick, then what the product writes for every move of a task.
MOVE = """
select id, fence from clawd_move((select id from task where project = %s and state = 'backlog'
  and deps_open = 0 order by front desc, priority, id for update skip locked limit 1),
  'claim', null, 'scheduler', %s, %s, %s)
"""
FINISHED = """
insert into {table} (project, state, last_event, title, queued_at, changed_at, fence, scope)
select 1, 'done', 'prove', 'finished task ' || n || repeat('.', 60), now(), now(), 4,
  array['src/' || n || '/**'] from generate_series(1, %s) n
"""
FINISHED_PAST = (
    """insert into run (task, project, role, agent, host, fence, state, last_event, session,
         limits, ended_at)
       select n, 1, 'dev', 1, 'h', 1, 'completed', 'complete', 's' || n, '{"day": "2025-01-01"}',
         now() from generate_series(1, %s) n""",
    """insert into history (kind, subject, at, from_state, event, to_state, fence, run, actor,
         lineage)
       select 'task', n, now(), 'verifying', 'prove', 'done', 4, n, 'verify', n
       from generate_series(1, %s) n""",
)


@dataclass
class Timed:
    """Latencies of one way of claiming, in seconds, block by block."""

    name: str
    claim: Callable[[int], object]
    tidy: Callable[[], None]
    blocks: list[list[float]] = field(default_factory=list)

    def block(self, count: int) -> None:
        """One block; what is prepared for and cleaned up after a claim is not in the figures."""
        taken = []
        for n in range(count):
            before = perf_counter()
            got = self.claim(n)
            taken.append(perf_counter() - before)
            assert got, f"{self.name} claimed nothing"
            self.tidy()
        self.blocks.append(taken)

    @property
    def all(self) -> list[float]:
        return [value for block in self.blocks for value in block]

    @property
    def rate(self) -> float:
        """Claims in a second: the middle block's, so that one noisy neighbour does not decide."""
        return median([len(block) / sum(block) for block in self.blocks])

    def show(self) -> None:
        every = [value * 1000 for value in self.all]
        print(
            f"  {self.name:<56} {self.rate:7.0f}/s   p50 {median(every):.3f} ms"
            f"   p99 {percentile(every, 0.99):.3f} ms"
        )


class Queue:
    """One database with so many finished tasks, and the ways of claiming from it."""

    def __init__(self, conninfo: str, home: Path, finished: int, ready: int) -> None:
        self.db: Db = postgres.connect(conninfo, application_name="bench")
        self.at = -1  # from the end of the queue, where the other ways do not come
        schema.migrate(self.db)
        self._fill(finished, ready)
        pool = postgres.open_pool(conninfo, size=1)
        self.desk = Desk(home=home, config=configuration.load(home), host="h", pool=pool)
        named = f"{finished:,} finished"
        self.ways = [
            Timed(f"bare claim, {named}", self._bare, self._nothing),
            Timed(f"move: + history, chain, outbox, {named}", self._move, self._nothing),
            Timed(f"claim: + run, agent, money, {named}", self._claim, self._free_agent),
            Timed(f"whole decision, {named}", self._decide, self.let_go),
        ]

    def _fill(self, finished: int, ready: int) -> None:
        db = self.db
        db.execute("set statement_timeout = 0")
        project = projects.save(
            db, slug="bench", path="/nowhere", main_ref="refs/heads/main", home_host="h", weight=1,
            landing="branch", test_cmd="true", setup_cmd="", settings={"max_agents": 4},
        )  # fmt: skip
        projects.note(db, project.id, baseline_verdict="green")
        self.agent = agents.ensure(db, "ada", "dev", "m").id
        db.execute(BARE)
        with db.transaction():
            db.execute("set local session_replication_role = replica")
            db.execute("set local synchronous_commit = off")
            for table in ("task", "bare"):
                db.execute(FINISHED.format(table=table), (finished,))
            for past in FINISHED_PAST:
                db.execute(past, (finished,))
        contract = Contract(spec="do it", acceptance=(), scope=("**",), may_change=())
        self.tasks = [
            tasks.add(db, project.id, title=f"task {n}", contract=contract, why="bench").id
            for n in range(ready)
        ]
        db.execute(
            """insert into bare (project, title, priority, scope) select project, title, priority,
                 scope from task where state = 'backlog' order by id"""
        )
        ledger.set_limit(db, "day", "all", DAY, PLENTY_MICROS)
        for task in self.tasks:
            ledger.envelope(db, "task", str(task), "", PLENTY_MICROS)
        for table in ("task", "bare", "run", "history", "lineage", "envelope", "outbox"):
            db.execute(f"vacuum analyze {table}")
        db.execute("set statement_timeout = '30s'")

    def _bare(self, _n: int) -> object:
        return self.db.execute(BARE_CLAIM, ("h", LEASE, 1), prepare=True).fetchone()

    def _move(self, n: int) -> object:
        change = Jsonb({"host": "h", "lease_until": "2030-01-01T00:00:00+00:00"})
        facts = Jsonb({"inputs": {"offered": [n]}, "policy": "schedule", "version": "1"})
        why = "first of 20 that fit ada"
        return self.db.execute(MOVE, (1, why, change, facts), prepare=True).fetchone()

    def _claim(self, _n: int) -> object:
        """The product's own way: the policy has named the task."""
        task, self.at = self.tasks[self.at], self.at - 1
        wanted = moves.Claim(
            (task,), "dev", self.agent, "h", LEASE, REQUEST, "first of 20 that fit ada",
            facts=Facts({"offered": [task], "held": {}}, policy="schedule", version="1"),
        )  # fmt: skip
        return moves.claim(self.db, wanted)

    def _decide(self, _n: int) -> object:
        return pipeline.next_dev(self.desk)

    def _nothing(self) -> None:
        return

    def _free_agent(self) -> None:
        self.db.execute("update agent set live_run = null where id = %s", (self.agent,))

    def let_go(self) -> None:
        """So that the next decision sees what this one saw: an idle agent and a free slot."""
        self._free_agent()
        self.db.execute(
            """update run set state = 'cancelled', last_event = 'cancel'
               where state in ('created', 'context_loaded', 'executing')"""
        )
        self.db.execute(
            """update task set state = 'cancelled', last_event = 'cancel', leased_by_run = null
               where state = 'claimed'"""
        )
        self.db.execute("update envelope set reserved = 0 where reserved <> 0")

    def close(self) -> None:
        self.desk.pool.close()
        self.db.close()


def end_to_end(conninfo: str, count: int) -> float:
    """Tasks in a second from queue to end, one at a time: find, claim, end, each with its proof."""
    with postgres.connect(conninfo, application_name="bench") as db:
        agent = agents.idle(db, "dev")[0].id
        db.execute("update envelope set reserved = 0 where reserved <> 0")
        before = perf_counter()
        for _ in range(count):
            found = tasks.ready(db)
            wanted = moves.Claim((found[0].id,), "dev", agent, "h", LEASE, REQUEST, "first of 20")
            run = moves.claim(db, wanted)
            assert run is not None
            with db.transaction():
                moves.move_run(db, run.id, "complete", why="ended well")
                moves.move_task(db, found[0].id, "cancel", why="done", fence=run.fence, run=run.id)
        return count / (perf_counter() - before)


def procrastinate_rate(conninfo: str, count: int) -> float | None:
    """Jobs in a second of procrastinate's own worker, one at a time; None when it is not here."""
    try:
        import procrastinate  # noqa: PLC0415 - its lock file is apart: the product never needs it
    except ImportError:
        return None
    logging.getLogger("procrastinate").setLevel(logging.ERROR)

    async def measure() -> float:
        app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=conninfo))

        @app.task(name="nothing")
        async def nothing(n: int) -> None:
            return

        async with app.open_async():
            await app.schema_manager.apply_schema_async()
            jobs: list[dict[str, Any]] = [{"n": n} for n in range(count)]
            await nothing.batch_defer_async(*jobs)
            before = perf_counter()
            await app.run_worker_async(concurrency=1, wait=False, install_signal_handlers=False)
            return count / (perf_counter() - before)

    return asyncio.run(measure())


def new_database(conninfo: str, name: str) -> str:
    """A database of its own, so that no queue shares a table with another."""
    with postgres.connect(conninfo, application_name="bench") as db:
        db.execute(f"create database {name}")
    return make_conninfo(conninfo, dbname=name)


def compare(small: Queue, large: Queue, blocks: int, size: int) -> None:
    """Blocks of every way in turn, so that a noisy moment hits all of them."""
    for number in range(-1, blocks):
        for each in (small, large):
            for way in each.ways:
                way.block(size)
                each.let_go()
            if number < 0:  # the first round warms caches and prepared statements
                for way in each.ways:
                    way.blocks.clear()
    for each in (small, large):
        for way in each.ways:
            way.show()


def verdict(small: Queue, large: Queue) -> bool:
    """The bars, and the ratios beside them."""
    bare, move, claim, decide = (way.rate for way in small.ways)
    big_bare, big_move, big_claim, big_decide = (way.rate for way in large.ways)
    worst = max(percentile(q.ways[2].all, 0.99) for q in (small, large)) * 1000
    noise = max(percentile(q.ways[0].all, 0.99) for q in (small, large)) * 1000
    print(f"  p99 of the bare claim beside it: {noise:.1f} ms")
    print(f"  claim / bare {claim / bare:.2f}, large {big_claim / big_bare:.2f}")
    print(f"  decision / bare {decide / bare:.2f}, large {big_decide / big_bare:.2f}")
    print(f"  large / small: bare {big_bare / bare:.2f}, move {big_move / move:.2f}, "
          f"claim {big_claim / claim:.2f}, decision {big_decide / decide:.2f}")  # fmt: skip
    return all(
        [
            bar("move / bare claim, small", move / bare, 0.6, least=True),
            bar("move / bare claim, large", big_move / big_bare, 0.6, least=True),
            bar("claim, large / small", big_claim / claim, 0.7, least=True),
            bar("p99 of the claim", worst, 5, " ms"),
        ]
    )


def main() -> int:
    """Prints the figures; fails only when a bar is missed and `--strict` asks for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=10_000, help="finished tasks, small")
    parser.add_argument("--large", type=int, default=1_000_000, help="finished tasks, large")
    parser.add_argument("--blocks", type=int, default=60, help="blocks of each way")
    parser.add_argument("--size", type=int, default=25, help="claims in a block")
    parser.add_argument("--jobs", type=int, default=1000, help="jobs of the end-to-end rates")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a bar is missed")
    chosen = parser.parse_args()
    ready = 3 * (chosen.blocks + 1) * chosen.size + chosen.jobs
    print(f"bench/claim: one connection, autocommit; {machine()}")
    with private_home("claim") as home:
        conninfo = server.ensure_running(home).conninfo
        queues = []
        for name, finished in (("small", chosen.small), ("large", chosen.large)):
            before = perf_counter()
            queues.append(Queue(new_database(conninfo, name), home, finished, ready))
            print(f"  {finished:,} finished and {ready:,} ready tasks written in "
                  f"{perf_counter() - before:.0f} s")  # fmt: skip
        small, large = queues
        with postgres.connect(conninfo, application_name="bench") as db:
            db.execute("checkpoint")
        compare(small, large, chosen.blocks, chosen.size)
        held = verdict(small, large)
        own = end_to_end(make_conninfo(conninfo, dbname="small"), chosen.jobs)
        print(f"  end to end, one at a time: clawd {own:.0f}/s (find, claim, end: 9 rows written)")
        other = procrastinate_rate(new_database(conninfo, "procrastinate"), chosen.jobs)
        if other is None:
            print("  procrastinate is not installed (requirements-bench.txt): not compared")
        else:
            print(f"  end to end, one at a time: procrastinate {other:.0f}/s (a job that does "
                  f"nothing); clawd / procrastinate {own / other:.2f}")  # fmt: skip
        for each in queues:
            each.close()
    return 0 if held or not chosen.strict else 1


if __name__ == "__main__":
    raise SystemExit(main())
