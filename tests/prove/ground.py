"""A daemon in a process of its own that may be killed anywhere, and what must hold afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from clawd import daemon
from clawd.adapters import process
from clawd.store import lineage, projects
from tests.whole.line import Line

REPO = Path(__file__).parents[2]
LOG = "daemon-said.txt"
# A daemon that shows where its threads are when it is asked by SIGUSR1.
_BOOT = """
import faulthandler, runpy, signal
faulthandler.register(signal.SIGUSR1, all_threads=True)
runpy.run_module("clawd", run_name="__main__")
"""
GOES_WITHIN_S = 15.0
Nudge = Callable[[Line], None]


def nobody(_line: Line) -> None:
    """An operator who only watches."""


def start(line: Line, *, conninfo: str = "", **environ: str) -> subprocess.Popen[bytes]:
    """The real daemon over the line's home; the caller ends it."""
    with (line.home / LOG).open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-c", _BOOT, "up", "--foreground", "--home", str(line.home)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=REPO,
            env={**os.environ, "CLAWD_DATABASE_URL": conninfo or line.conninfo, **environ},
            start_new_session=True,
        )


@contextmanager
def running(line: Line, *, conninfo: str = "", **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """The real daemon for as long as the block; ended in order, or killed when it does not go."""
    found = start(line, conninfo=conninfo, **environ)
    try:
        yield found
    finally:
        end(line, found)


def end(line: Line, found: subprocess.Popen[bytes]) -> None:
    """Down in order; a daemon that does not go within its time is killed, its threads shown."""
    if found.poll() is not None:
        return
    found.terminate()
    try:
        found.wait(GOES_WITHIN_S)
    except subprocess.TimeoutExpired:
        found.send_signal(signal.SIGUSR1)
        time.sleep(1)
        found.kill()
        found.wait(10)
        raise AssertionError(f"the daemon did not go:\n{said(line)}") from None


def said(line: Line) -> str:
    """The last a daemon printed."""
    return (line.home / LOG).read_text("utf-8", "replace")[-6000:]


def until_killed(
    line: Line, found: subprocess.Popen[bytes], nudge: Nudge = nobody, within_s: float = 60
) -> None:
    """Waits until the daemon died as by `kill -9`, and of nothing else."""
    deadline = time.monotonic() + within_s
    while found.poll() is None:
        assert time.monotonic() < deadline, f"the point was never reached:\n{line.story()}"
        nudge(line)
        time.sleep(0.05)
    assert found.returncode == -signal.SIGKILL, said(line)


def until(
    line: Line, reached: Callable[[], bool], nudge: Nudge = nobody, within_s: float = 90
) -> None:
    """Waits for something while the operator does their part; waits for a time are cut short."""
    deadline = time.monotonic() + within_s
    while not reached():
        assert time.monotonic() < deadline, _stuck(line)
        nudge(line)
        spare_waits(line)
        time.sleep(0.05)


def _stuck(line: Line) -> str:
    left = line.rows(
        """select id, state, reason, not_before, leased_by_run from task
           where state not in ('done', 'cancelled', 'parked')"""
    )
    left += line.rows("select id, state, reason, ticked, marked, line from goal")
    left += line.rows("select scope, key, state, fails, probe_at from breaker")
    left += line.rows("select slug, baseline_verdict, landings_held, not_followed from project")
    said = (line.home / "logs" / "clawd.log").read_text()[-3000:]
    return f"it does not come to its end:\n{left}\n{line.story()}\n{said}"


def spare_waits(line: Line) -> None:
    """Where only a time is waited for, the database's clock is moved there."""
    found = line.rows(
        """select max(extract(epoch from until - clawd_now()))::float as left_s from (
             select not_before as until from task
               where state in ('backlog', 'review') and leased_by_run is null
             union all select not_before from goal where state in ('seen', 'planning')
             union all select until from pause
             union all select probe_at from breaker where state <> 'closed') waits
           where until > clawd_now()
             and not exists (select from run where ended_at is null)"""
    )
    if found[0]["left_s"]:
        line.advance(seconds=found[0]["left_s"] + 1)


def is_quiet(line: Line) -> bool:
    """Every task and goal has ended or waits for a person, and nothing is under way."""
    return not any(line.rows(query) for query in (
        """select from task where state not in
             ('done', 'cancelled', 'rolled_back', 'parked', 'waiting')""",
        """select from goal where state not in ('done', 'withdrawn', 'blocked')
             and not (state = 'planned' and reason = 'reverted')""",
        "select from run where ended_at is null",
        "select from landing where state in ('asked', 'intent')",
        "select from goal where state = 'done' and done_by = 'clawd' and not ticked and not marked",
    ))  # fmt: skip


def violations(line: Line) -> list[str]:
    """Everything that a death must not leave behind; empty when every promise held."""
    found = _in_tables(line) + _in_git(line)
    with line.desk.db() as db:
        bad = lineage.first_bad_row(db)
    return found + ([bad] if bad else []) + left_processes(line)


_PROMISES = {
    "a run is live": "select id from run where ended_at is null",
    "an agent holds an ended run": "select id, live_run from agent where live_run is not null",
    "a task is leased by nobody": "select id from task where leased_by_run is not null",
    "an intent is open": "select id, task from landing where state in ('intent', 'asked')",
    "a task landed twice": """select task from landing where kind = 'land' and state = 'landed'
                              group by task having count(*) > 1""",
    "money is still reserved": "select scope, scope_id from envelope where reserved <> 0",
    "money was counted wrong": """select e.scope_id, e.spent from envelope e where scope = 'task'
        and spent <> (select coalesce(sum(spent_micros), 0) from run
                      where run.task::text = e.scope_id)""",
    "a task was charged for our death": """select id, tries, reason from task where tries > 0
        and not exists (select from history h where h.kind = 'task' and h.subject = task.id
          and h.event in ('fail', 'check_red') and h.reason not in ('lost', 'restarted'))""",
    "a task neither ended nor waits": """select id, state, reason from task where state not in
        ('done', 'cancelled', 'rolled_back', 'parked', 'waiting')""",
}  # fmt: skip


def _in_tables(line: Line) -> list[str]:
    found = []
    for what, query in _PROMISES.items():
        rows = line.rows(query)
        if rows:
            found.append(f"{what}: {rows}")
    return found


def _in_git(line: Line) -> list[str]:
    """Each task's merge is on main at most once, every tip of ours was tested, nothing is torn."""
    found = []
    with line.desk.db() as db:
        names = [project.slug for project in projects.active(db)]
        green = {row["tree"] for row in db.execute(
            "select tree from test_verdict where verdict = 'green'"
        )}  # fmt: skip
    for slug in names:
        merged = line.hub_git(
            "log", "--merges", "--format=%(trailers:key=Clawd-Task,valueonly,separator=)",
            "refs/heads/main", slug=slug,
        ).split()  # fmt: skip
        landed = [str(row["task"]) for row in line.rows(
            "select task from landing where kind = 'land' and state = 'landed'"
        )]  # fmt: skip
        found += [f"task {t} is on main {n} times" for t, n in Counter(merged).items() if n > 1]
        if len(names) == 1 and sorted(merged) != sorted(landed):
            found.append(f"on main are {sorted(merged)}, the table says {sorted(landed)}")
        tips = line.hub_git("log", "-g", "--format=%cn %T", "refs/heads/main", slug=slug)
        ours = {tip.removeprefix("clawd ") for tip in tips.splitlines() if tip.startswith("clawd ")}
        found += [f"a tip with tree {tree} was not tested" for tree in ours - green]
        checked = subprocess.run(
            ["git", "-C", str(line.home / "hubs" / f"{slug}.git"), "fsck", "--no-dangling"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        if checked.returncode:
            found.append(f"git fsck of {slug}: {checked.stderr[-500:]}")
    return found


def left_processes(line: Line, within_s: float = 5.0) -> list[str]:
    """Processes of this home that outlive their run: marked ones and keepers."""
    deadline = time.monotonic() + within_s
    while True:
        left = [f"{pid} {marker}" for pid, marker in process.find_marked(line.desk.mark).items()]
        left += [f"keeper {pid}" for pid in keepers(line)]
        if not left or time.monotonic() > deadline:
            return [f"a process is left: {each}" for each in left]
        time.sleep(0.1)


def keepers(line: Line) -> list[int]:
    """The living keepers of this home."""
    found = []
    for each in psutil.process_iter(["cmdline", "status"]):
        words = each.info["cmdline"] or []
        ours = any(word.startswith(f"{line.home}/runs/") for word in words)
        if ours and any(w.endswith("keeper.py") for w in words) and each.info["status"] != "zombie":
            found.append(each.pid)
    return found


def is_up(line: Line) -> bool:
    """Whether a daemon holds the home."""
    return daemon.is_running(line.home) is not None
