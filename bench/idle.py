#!/usr/bin/env python3
"""What an idle daemon costs, and how fast the command line answers beside it."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.figures import bar, machine, median, private_home
from bench.sample import Sample, running

SETTLE_S = 5.0
FINISHED = """
insert into task (project, state, last_event, title, queued_at, changed_at, fence)
select 1, 'done', 'prove', 'finished task ' || n || repeat('.', 60), now(), now(), 4
from generate_series(1, %s) n
"""


def cpu_s(processes: Iterable[psutil.Process]) -> float:
    """Processor seconds of these processes and of children they have waited for."""
    total = 0.0
    for process in processes:
        try:
            spent = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += spent.user + spent.system + spent.children_user + spent.children_system
    return total


def own_s(process: psutil.Process) -> float:
    """Processor seconds of the process itself."""
    spent = process.cpu_times()
    return float(spent.user + spent.system)


def memory_mb(processes: Iterable[psutil.Process]) -> tuple[float, float]:
    """Resident and proportional memory; the second shares out what processes have in common."""
    rss = pss = 0
    for process in processes:
        try:
            seen = process.memory_full_info()
        except psutil.Error:
            continue
        rss += seen.rss
        pss += getattr(seen, "pss", seen.rss)
    return rss / 1e6, pss / 1e6


def postgres_of(sample: Sample) -> list[psutil.Process]:
    """The server and its backends."""
    row = sample.row("select pg_backend_pid() as pid")
    assert row is not None
    postmaster = psutil.Process(row["pid"]).parent()
    assert postmaster is not None
    return [postmaster, *postmaster.children()]


def idle(sample: Sample, seconds: float) -> list[bool]:
    """Watches the daemon do nothing."""
    patience = threading.Event()
    patience.wait(SETTLE_S)
    daemon = psutil.Process(sample.pid)
    servers = postgres_of(sample)
    runs_before = sample.row("select count(*) as n from run")
    began, itself, with_children, theirs = (
        time.monotonic(), own_s(daemon), cpu_s([daemon]), cpu_s(servers),
    )  # fmt: skip
    patience.wait(seconds)
    wall = time.monotonic() - began
    itself = 100 * (own_s(daemon) - itself) / wall
    with_children = 100 * (cpu_s([daemon]) - with_children) / wall
    theirs = 100 * (cpu_s(servers) - theirs) / wall
    rss, pss = memory_mb([daemon, *daemon.children(recursive=True)])
    their_rss, their_pss = memory_mb(servers)
    runs_after = sample.row("select count(*) as n from run")
    assert runs_before is not None
    assert runs_after is not None
    print(f"  over {wall:.0f} s: daemon {itself:.2f} % of one core, with its git processes "
          f"{with_children:.2f} %, Postgres {theirs:.2f} %")  # fmt: skip
    print(f"  memory: daemon {rss:.0f} MB resident, {pss:.0f} MB proportional; "
          f"Postgres {their_rss:.0f} and {their_pss:.0f} MB")  # fmt: skip
    return [
        bar("processor of the daemon with its children", with_children, 0.5, " %"),
        bar("memory without Postgres, resident", rss, 150, " MB"),
        bar("runs, and so model calls", runs_after["n"] - runs_before["n"], 1),
    ]


def answers(sample: Sample, *words: str, tries: int = 11) -> float:
    """Middle of so many calls of one command, in seconds; the first warms the disk's cache."""
    command = [str(Path(sys.executable).with_name("clawd")), *words]
    env = {**os.environ, "CLAWD_HOME": str(sample.home)}
    taken: list[float] = []
    start = os.times()
    for _ in range(tries + 1):
        before = time.perf_counter()
        subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
        taken.append(time.perf_counter() - before)
    after = os.times()
    spent = after.children_user + after.children_system - start.children_user
    spent -= start.children_system
    print(f"  clawd {' '.join(words)}: least {min(taken) * 1000:.0f} ms, most "
          f"{max(taken) * 1000:.0f} ms; processor {spent / len(taken) * 1000:.0f} ms")  # fmt: skip
    return median(taken[1:])


def main() -> int:
    """Prints the figures; fails only when a bar is missed and `--strict` asks for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to watch")
    parser.add_argument("--finished", type=int, default=100_000, help="tasks for the second look")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a bar is missed")
    chosen = parser.parse_args()
    print(f"bench/idle: {machine()}")
    with private_home("idle") as folder, running(folder) as sample:
        held = idle(sample, chosen.seconds)
        held.append(bar("clawd --help", answers(sample, "--help"), 0.2, " s"))
        held.append(bar("clawd status", answers(sample, "status"), 0.4, " s"))
        with sample.db.transaction():
            sample.db.execute("set local session_replication_role = replica")
            sample.db.execute(FINISHED, (chosen.finished,))
        named = f"clawd status, {chosen.finished:,} finished tasks"
        held.append(bar(named, answers(sample, "status"), 0.4, " s"))
    return 0 if all(held) or not chosen.strict else 1


if __name__ == "__main__":
    raise SystemExit(main())
