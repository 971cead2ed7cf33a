#!/usr/bin/env python3
"""Two hundred agents at once over a long queue: claims, memory, growth, a large workspace."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic, perf_counter

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.figures import bar, machine, median, percentile, private_home
from bench.fleet import add_tasks, fleet, footprint, make_repository, write_config
from bench.sample import Sample
from clawd import config as configuration
from clawd.adapters import postgres
from clawd.adapters.git.hub import Hub
from clawd.adapters.git.warm import RACY_FOR_S, WarmPool
from clawd.daemon import database, host_name
from clawd.pipeline import claim, recover
from clawd.pipeline.desk import Desk
from clawd.steer.tasks import cancel_task
from clawd.store import agents, tasks, views, views_board

REVIEWERS = 20
SILENCE_S = 20.0
LIVE_RUNS = "select count(*) as n from run where state = %s"
UNDO = (
    """update envelope set reserved = reserved - %(micros)s
       where reserved >= %(micros)s and scope = 'day'""",
    "update agent set live_run = null where id = %(agent)s",
    """update run set state = 'cancelled', last_event = 'cancel', ended_at = now()
       where id = %(run)s""",
    """update task set state = 'cancelled', last_event = 'cancel', leased_by_run = null,
         lease_until = null where id = %(task)s""",
)


def timed(name: str, tries: int, call: Callable[[], object]) -> list[float]:
    """So many calls in milliseconds, in a line of their own."""
    taken = []
    for _ in range(tries):
        before = perf_counter()
        call()
        taken.append((perf_counter() - before) * 1000)
    _line(name, taken)
    return taken


def _line(name: str, taken: list[float]) -> None:
    print(f"    {name:<44} p50 {median(taken):8.2f} ms   p99 {percentile(taken, 0.99):8.2f} ms"
          f"   ({len(taken)} times)")  # fmt: skip


class Other:
    """A second host with one idle agent: it decides and claims beside the daemon's full house."""

    def __init__(self, sample: Sample, folder: Path, live: int) -> None:
        home = folder / "other"
        home.mkdir(mode=0o700)
        write_config(home, folder, live + 50, live, REVIEWERS)
        self.pool = postgres.open_pool(database(sample.home), size=2)
        config = configuration.load(home)
        self.desk = Desk(home=home, config=config, host="other", pool=self.pool)
        self.here = Desk(home=sample.home, config=config, host=host_name(), pool=self.pool)
        self.db = sample.db
        agents.ensure(self.db, "guest", "dev", "m")

    def decide(self, tries: int) -> tuple[list[float], list[float]]:
        """Whole decisions, and of each the part that is the claim's own statement."""
        own: list[float] = []
        whole = []
        plain = claim.moves.claim

        def measured(*arguments: object) -> object:
            before = perf_counter()
            try:
                return plain(*arguments)  # type: ignore[arg-type]
            finally:
                own.append((perf_counter() - before) * 1000)

        claim.moves.claim = measured  # type: ignore[assignment]
        try:
            for _ in range(tries):
                before = perf_counter()
                taken = claim.next_dev(self.desk)
                whole.append((perf_counter() - before) * 1000)
                assert taken is not None, "nothing was claimed"
                self._undo(taken)
        finally:
            claim.moves.claim = plain
        return own, whole

    def _undo(self, taken: claim.Taken) -> None:
        found = {"micros": taken.run.reserved_micros, "agent": taken.agent.id,
                 "run": taken.run.id, "task": taken.task.id}  # fmt: skip
        with self.db.transaction():
            for statement in UNDO:
                self.db.execute(statement, found)

    def close(self) -> None:
        """The guest leaves, so that the daemon does not find it idle."""
        self.db.execute("update agent set state = 'removed' where name = 'guest'")
        self.pool.close()


def full_house(sample: Sample, folder: Path, live: int, queued: int, claims: int) -> list[bool]:
    """All agents at work at once, the queue behind them: what deciding and looking cost then."""
    before = perf_counter()
    add_tasks(sample, "done", queued, priority=100)
    print(f"  {queued:,} tasks queued in {perf_counter() - before:.1f} s")
    add_tasks(sample, "hold", live, priority=1)
    before = perf_counter()
    sample.wait(lambda: _count(sample, "executing") >= live, f"{live} agents at work", 900)
    spent = perf_counter() - before
    print(f"  {live} agents at work after {spent:.0f} s, {live / spent:.1f} starts a second")
    held = [_memory(sample)]
    _silence(sample)
    other = Other(sample, folder, live)
    try:
        own, whole = other.decide(claims)
        print(f"  with {live} agents at work and {queued:,} tasks queued:")
        _line("the claim's own statement", own)
        _line("the whole decision, claim included", whole)
        timed("tasks.ready", 50, lambda: tasks.ready(sample.db))
        timed("tasks.under_way", 50, lambda: tasks.under_way(sample.db))
        timed("recover.ended, looks at every run", 20, lambda: recover.ended(other.here, set()))
        timed("recover.heartbeat, all leases", 20, lambda: recover.heartbeat(other.here))
        timed("views.overview (clawd status)", 20, lambda: views.overview(sample.db))
        timed("views_board.board", 20, lambda: views_board.board(sample.db))
    finally:
        other.close()
    held.append(bar("claim p99, its own statement", percentile(own, 0.99), 20, " ms"))
    held.append(bar("claim p99, the whole decision", percentile(whole, 0.99), 20, " ms"))
    return held


def _count(sample: Sample, state: str) -> int:
    row = sample.row(LIVE_RUNS, state)
    assert row is not None
    return int(row["n"])


def _memory(sample: Sample) -> bool:
    groups = footprint(sample)
    for each in groups:
        each.show()
    ours = sum(each.pss_mb for each in groups if each.name != "agents")
    return bar("daemon, keepers and Postgres together", ours, 2500, " MB")


def _silence(sample: Sample) -> None:
    """What a full house costs while no agent says anything."""
    itself = psutil.Process(sample.pid)
    before, since = itself.cpu_times(), monotonic()
    threading.Event().wait(SILENCE_S)
    after, wall = itself.cpu_times(), monotonic() - since
    spent = after.user - before.user + after.system - before.system
    print(f"  daemon while all are silent: {100 * spent / wall:.1f} % of one core, "
          f"{itself.num_threads()} threads, {itself.num_fds()} descriptors")  # fmt: skip


def empty_house(sample: Sample, live: int) -> None:
    """The operator cancels everything that is held; every process of it must go."""
    held = [row["id"] for row in sample.db.execute("select id from task where title like 'hold %'")]
    before = perf_counter()
    for task in held:
        cancel_task(sample.db, task)
    gone = "select 1 where not exists (select from run r join task t on t.id = r.task " \
           "where t.title like 'hold %%' and r.ended_at is null)"  # fmt: skip
    sample.wait(lambda: sample.row(gone), "the cancelled runs to end", 600)
    print(f"  {live} tasks cancelled, their agents ended and settled in "
          f"{perf_counter() - before:.0f} s")  # fmt: skip


def growth(sample: Sample, finished: int) -> list[bool]:
    """Threads and descriptors of the daemon after a tenth of the tasks and after all of them."""
    done = "select count(*) as n from task where state = 'done'"
    itself = psutil.Process(sample.pid)
    seen = []
    start = perf_counter()
    for goal in (finished // 10, finished):
        most = [0, 0, 0]
        while (row := sample.row(done)) and row["n"] < goal:
            found = (itself.num_threads(), itself.num_fds(), itself.memory_info().rss)
            most = [max(pair) for pair in zip(most, found, strict=True)]
            threading.Event().wait(1.0)
        seen.append(most)
        rate = goal / (perf_counter() - start)
        print(f"  after {goal:,} finished tasks: at most {most[0]} threads, {most[1]} descriptors, "
              f"{most[2] / 1e6:.0f} MB; {rate:.2f} tasks a second")  # fmt: skip
    return [
        bar("threads more than after a tenth", seen[1][0] - seen[0][0], 5),
        bar("descriptors more than after a tenth", seen[1][1] - seen[0][1], 20),
    ]


def workspace(folder: Path, files: int) -> bool:
    """A workspace made ahead of need, handed over."""
    source = folder / "large"
    make_repository(source, {f"part-{n % 100}/file-{n}.txt": f"line {n}\n" * 20
                             for n in range(files)})  # fmt: skip
    hub = Hub.create(folder / "large.git", "main")
    commit = hub.sync_from(source, "main")
    pool = WarmPool(hub, folder / "stock", 12)
    pool.refill(commit)
    threading.Event().wait(RACY_FOR_S + 0.5)
    taken = []
    for n in range(12):
        before = perf_counter()
        pool.take(commit, folder / f"taken-{n}")
        taken.append((perf_counter() - before) * 1000)
    _line(f"a warm workspace of {files:,} files", taken)
    return bar(f"warm workspace of {files:,} files, p50", median(taken), 100, " ms")


def main() -> int:
    """Prints the figures; fails only when a bar is missed and `--strict` asks for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--live", type=int, default=200, help="agents at once")
    parser.add_argument("--queued", type=int, default=100_000, help="tasks in the queue")
    parser.add_argument("--claims", type=int, default=1000, help="claims to time")
    parser.add_argument("--finished", type=int, default=300, help="tasks to finish for the growth")
    parser.add_argument("--files", type=int, default=10_000, help="files of the large workspace")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a bar is missed")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the fleet goes down with us
    print(f"bench/scale: {machine()}")
    held = []
    with private_home("scale") as folder:
        if chosen.files:
            held.append(workspace(folder, chosen.files))
        with fleet(folder, chosen.live, REVIEWERS) as sample:
            held += full_house(sample, folder, chosen.live, chosen.queued, chosen.claims)
            empty_house(sample, chosen.live)
            if chosen.finished:
                held += growth(sample, chosen.finished)
    return 0 if all(held) or not chosen.strict else 1


if __name__ == "__main__":
    raise SystemExit(main())
