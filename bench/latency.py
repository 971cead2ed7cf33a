#!/usr/bin/env python3
"""How long an idle daemon takes from a task to its agent, and what a whole task costs on top."""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.figures import bar, machine, median, percentile, private_home
from bench.sample import Sample, running
from clawd.steer.tasks import add_task
from clawd.store import projects

IDLE_BEFORE_S = 0.7
# The lineage says when each step was decided; the phases are the times between them.
STEPS = ("add", "claim", "run_load", "finish", "check_green", "claim", "pass", "land", "prove")


@dataclass(frozen=True, slots=True)
class One:
    """What one task took, in seconds."""

    to_agent: float
    wall: float
    agents: float
    tests: float
    phases: dict[str, float]

    @property
    def overhead(self) -> float:
        return self.wall - self.agents - self.tests


def one(sample: Sample, number: int) -> One:
    """Adds a task to the idle daemon and follows it to its end."""
    project = projects.by_slug(sample.db, "sample")
    assert project is not None
    before = time.time()
    added = add_task(
        sample.db, project, f"Write note {number}", f"Write notes/note-{number}.md.",
        accept=(f"test -s notes/note-{number}.md",), scope=(f"notes/note-{number}.md",),
    )  # fmt: skip
    task = added.id
    assert task is not None
    sample.wait(
        lambda: sample.row("select 1 from task where id = %s and state = 'done'", task),
        f"task {task} to be done",
    )
    steps = [
        (row["action"], row["at"].timestamp())
        for row in sample.db.execute(
            "select action, at from lineage where task = %s order by id", (task,)
        )
    ]
    ended = next(at for action, at in reversed(steps) if action == "prove")
    started = {role: _started(sample.home, task, role) for role in ("dev", "qa")}
    agents, tests = _spent(sample, task, before, started)
    return One(started["dev"] - before, ended - before, agents, tests,
               _phases(before, steps, started))  # fmt: skip


def _started(home: Path, task: int, role: str) -> float:
    return (
        int((home / "tasks" / str(task) / "home" / role / "started").read_text().split()[0]) / 1e9
    )


def _spent(
    sample: Sample, task: int, since: float, started: dict[str, float]
) -> tuple[float, float]:
    """Seconds the agents ran, from their own start, and seconds of checks and tests."""
    roles = {
        str(row["id"]): row["role"]
        for row in sample.db.execute("select id, role from run where task = %s", (task,))
    }
    agents = tests = 0.0
    for path in (sample.home / "runs").glob("*/result.json"):
        found = json.loads(path.read_text())
        if path.parent.name in roles:
            agents += found["ended_at"] - started[roles[path.parent.name]]
        elif found["started_at"] >= since:
            tests += found["wall_ms"] / 1000
    return agents, tests


def _phases(
    before: float, steps: list[tuple[str, float]], started: dict[str, float]
) -> dict[str, float]:
    found, last, rest = {}, before, list(steps)
    for name in STEPS:
        place = next((n for n, (action, _) in enumerate(rest) if action == name), None)
        if place is None:
            continue
        at = rest[place][1]
        rest = rest[place + 1 :]
        key = name if name not in found else f"{name} (qa)"
        found[key], last = at - last, at
        if name == "run_load":
            found["agent starts"], last = started["dev"] - at, started["dev"]
    return found


def main() -> int:
    """Prints the figures; fails only when a bar is missed and `--strict` asks for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=40)
    parser.add_argument("--strict", action="store_true", help="exit 1 when a bar is missed")
    chosen = parser.parse_args()
    print(f"bench/latency: {chosen.tasks} tasks, one after the other; {machine()}")
    patience = threading.Event()
    with private_home("latency") as folder, running(folder) as sample:
        every = []
        for number in range(chosen.tasks + 2):  # the first two warm the caches up
            patience.wait(IDLE_BEFORE_S)
            every.append(one(sample, number))
        every = every[2:]
    to_agent = [each.to_agent * 1000 for each in every]
    overhead = [each.overhead for each in every]
    print("  where a task's time goes, middle of all, each from the step before it:")
    for name in every[-1].phases:
        print(f"    {name:<14} {median([e.phases.get(name, 0) for e in every]) * 1000:7.0f} ms")
    print(f"  a whole task: wall {median([e.wall for e in every]):.2f} s, of it agents "
          f"{median([e.agents for e in every]):.2f} s, checks and tests "
          f"{median([e.tests for e in every]):.2f} s")  # fmt: skip
    print(f"  task to agent: least {min(to_agent):.0f}, most {max(to_agent):.0f} ms; "
          f"overhead p99 {percentile(overhead, 0.99):.2f} s")  # fmt: skip
    held = [
        bar("task added to its agent's start, p50", median(to_agent), 150, " ms"),
        bar("task added to its agent's start, p99", percentile(to_agent, 0.99), 400, " ms"),
        bar("overhead of a whole task, p50", median(overhead), 1.0, " s"),
    ]
    return 0 if all(held) or not chosen.strict else 1


if __name__ == "__main__":
    raise SystemExit(main())
