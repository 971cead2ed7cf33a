"""The whole line on a small repository: a real desk, real git, Postgres and agent processes."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from clawd import daemon, loops, share, steer
from clawd.adapters.process import find_marked, kill_marked
from clawd.errors import ClawdError
from clawd.model import Project, Run, Task
from clawd.pipeline import baseline, check, claim, develop, plan, recover, review, roadmap
from clawd.pipeline.desk import Desk
from clawd.running import launch
from clawd.store import approvals, goals, lineage, moves, projects, runs, tasks
from clawd.store.rows import Db

AGENT = share.path("scripts/demo") / "agent"
# Tests of a project in one line: what `tests.sh` says, and green without one.
TEST_COMMAND = "test ! -f tests.sh || sh tests.sh"
FILES = {"README.md": "# sample\n", "ROADMAP.md": "# Roadmap\n", "notes/first.md": "one\n"}
ALL = ("settle", "check", "reuse", "qa", "dev", "merge")
DEV = ("settle", "dev")
REVIEW = ("settle", "check", "reuse", "qa")
PATIENCE_S = 40.0

# The clock of a test runs on from the real one, moved by what the table says.
_CLOCK = """
create table test_clock (shift interval not null);
insert into test_clock values ('0');
create or replace function clawd_now() returns timestamptz language sql volatile as
  $$ select clock_timestamp() + (select shift from test_clock) $$;
"""


@cache
def scripted_agent() -> Path:
    """The scripted agent as one file that never pauses; packed once a test process."""
    folder = Path(tempfile.mkdtemp(prefix="cl-agent-", dir="/tmp"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    subprocess.run([str(AGENT), "--pack", str(folder / "claude"), "0"], check=True, timeout=60)
    return folder / "claude"


def clock(db: Db, shift: timedelta) -> None:
    """Makes a database's clock settable and moves it; it counts for every connection at once."""
    if db.execute("select from pg_class where relname = 'test_clock'").fetchone() is None:
        db.execute(_CLOCK)
    db.execute("update test_clock set shift = shift + %s", (shift,))


@dataclass
class Line:
    """The line driven by hand: each stage when the test says so."""

    desk: Desk
    home: Path
    repos: dict[str, Path]
    conninfo: str

    # ------------------------------------------------------------ looking

    def project(self, slug: str = "sample") -> Project:
        with self.desk.db() as db:
            found = projects.by_slug(db, slug)
        assert found is not None
        return found

    def task(self, task: int) -> Task:
        with self.desk.db() as db:
            found = tasks.by_id(db, task)
        assert found is not None
        return found

    def runs(self, task: int, role: str = "") -> list[Run]:
        with self.desk.db() as db:
            return [r for r in runs.of_task(db, task) if role in ("", r.role)]

    def events(self, task: int) -> list[str]:
        """The task's moves so far, in order."""
        return [row["event"] for row in self.rows(
            "select event from history where kind = 'task' and subject = %s order by id", task
        )]  # fmt: skip

    def decisions(self, task: int) -> list[str]:
        """Every decision in the task's chain, in order."""
        with self.desk.db() as db:
            return [row.action for row in lineage.of_chain(db, "task", task)]

    def story(self) -> str:
        """Every move with its reason, for a test that fails."""
        return "\n".join(" ".join(str(value) for value in row.values()) for row in self.rows(
            """select h.kind, h.subject, h.from_state, h.event, h.to_state, h.reason, l.why
               from history h left join lineage l on l.id = h.lineage order by h.id"""
        ))  # fmt: skip

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        with self.desk.db() as db:
            return db.execute(query, parameters).fetchall()

    def main(self, slug: str = "sample") -> str:
        """Where the hub's main is."""
        return self.desk.hub(self.project(slug)).resolve("refs/heads/main")

    def file(self, path: str, slug: str = "sample") -> str | None:
        """A file on the hub's main."""
        found = self.desk.hub(self.project(slug)).read(self.main(slug), path)
        return None if found is None else found.decode()

    def snapshot(self, run: Run) -> str:
        """The message a run was started with."""
        return (self.desk.run_folder(run.id) / "prompt.md").read_text()

    def hub_git(self, *arguments: str, slug: str = "sample") -> str:
        """git in the hub."""
        path = self.home / "hubs" / f"{slug}.git"
        command = ["git", "-C", str(path), *arguments]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=60
        ).stdout.strip()

    # ------------------------------------------------------------ the operator

    def add(
        self, title: str, spec: str = "", *, accept: Sequence[str] = ("true",),
        scope: Sequence[str] = (), slug: str = "sample", **more: Any,
    ) -> int:  # fmt: skip
        """A task whose agent writes a note of its own, unless the spec says otherwise."""
        name = title.lower().replace(" ", "-")
        with self.desk.db() as db:
            done = steer.add_task(
                db, self.project(slug), title, spec, accept=accept,
                scope=scope or (f"notes/{name}.md",), **more,
            )  # fmt: skip
        assert done.id is not None
        return done.id

    def save(self, path: str, text: str, slug: str = "sample") -> None:
        """The operator saves a file in the checkout."""
        (self.repos[slug] / path).write_text(text)

    def commit(self, changes: dict[str, str | None], slug: str = "sample") -> None:
        """The operator commits to main; None removes a file."""
        repo = self.repos[slug]
        for path, text in changes.items():
            if text is None:
                (repo / path).unlink()
            else:
                (repo / path).write_text(text)
        person = ["-c", "user.name=Op", "-c", "user.email=op@example.invalid"]
        for command in (["add", "-A"], [*person, "commit", "-q", "-m", "by hand"]):
            subprocess.run(["git", *command], cwd=repo, check=True, timeout=60)

    def answer(self, text: str = "one") -> None:
        """The operator answers what waits."""
        with self.desk.db() as db:
            for asked in approvals.waiting(db):
                steer.answer(db, asked.id, text)

    def advance(self, **parts: float) -> None:
        """Moves the database's clock."""
        with self.desk.db() as db:
            clock(db, timedelta(**parts))

    # ------------------------------------------------------------ the stages

    def settle(self) -> int:
        """Ends runs that lost their task, settles what has ended."""
        recover.end_stale(self.desk)
        found = recover.ended(self.desk, set())
        for run, result in found:
            recover.settle(self.desk, run, result)
        return len(found)

    def ended(self, *, timeout_s: float = PATIENCE_S) -> None:
        """Waits until every live run's process is gone."""
        with self.desk.db() as db:
            live = runs.live(db, self.desk.host)
        for run in live:
            assert launch.wait(self.desk.run_folder(run.id), timeout_s, threading.Event())

    def dev(self) -> int:
        """Starts a developer wherever one fits."""
        return self._start(claim.next_dev, develop.start)

    def qa(self) -> int:
        """Starts a reviewer wherever one fits."""
        return self._start(claim.next_qa, review.start)

    def _start(self, find: Callable[[Desk], Any], begin: Callable[[Desk, Any], None]) -> int:
        started = 0
        while (taken := find(self.desk)) is not None:
            started += 1
            try:
                begin(self.desk, taken)
            except (ClawdError, OSError) as error:
                recover.could_not_start(self.desk, taken.run, error)
        return started

    def check(self) -> int:
        """Checks every new candidate."""
        due = check.due(self.desk)
        with self.desk.db() as db:
            by_id = {p.id: p for p in projects.active(db)}
        for task in due:
            check.check(self.desk, by_id[task.project], task)
        return len(due)

    def reuse(self) -> int:
        return review.reuse(self.desk)

    def merge(self) -> None:
        """Turns the train until it stands, tests under way included."""
        merger = loops.Merge(self.desk, lambda: None)
        deadline = time.monotonic() + PATIENCE_S
        try:
            while merger.tick() == 0.0 or not self._stands(merger):
                assert time.monotonic() < deadline, "the train does not come to a stand"
                time.sleep(0.005)
        finally:
            merger.close()

    def _stands(self, merger: loops.Merge) -> bool:
        return all(merger._train.is_idle(self.project(slug)) for slug in self.repos)

    def plan(self, slug: str = "sample") -> None:
        """One look at the roadmap, and agents for what it changed."""
        roadmap.read(self.desk, self.project(slug))
        plan.start_pm(self.desk, self.project(slug))
        with self.desk.db() as db:
            waiting = goals.plannable(db)
        for goal in waiting:
            plan.start_planner(self.desk, self.project(slug), goal)

    def step(self, stages: Sequence[str] = ALL) -> None:
        for stage in stages:
            getattr(self, stage)()

    def until(
        self, task: int, *states: str, stages: Sequence[str] = ALL, timeout_s: float = PATIENCE_S
    ) -> Task:
        """Drives the stages until the task is in one of the states."""
        self.drive(lambda: self.task(task).state in states, stages, timeout_s,
                   lambda: f"task {task} is not {states}:\n{self.story()}")  # fmt: skip
        return self.task(task)

    def drive(
        self,
        reached: Callable[[], bool],
        stages: Sequence[str] = ALL,
        timeout_s: float = PATIENCE_S,
        say: Callable[[], str] = lambda: "",
    ) -> None:
        """Drives the stages until something is true."""
        deadline = time.monotonic() + timeout_s
        while not reached():
            assert time.monotonic() < deadline, say() or "it took too long"
            self.step(stages)
            if not reached():
                time.sleep(0.02)

    # ------------------------------------------------------------ what must hold

    def assert_sound(self) -> None:
        """Chains whole, one landing a task, every tip main ever had was tested green."""
        with self.desk.db() as db:
            assert lineage.first_bad_row(db) is None
            twice = db.execute(
                """select task from landing where kind = 'land' and state <> 'void'
                   group by task having count(*) > 1"""
            ).fetchall()
            assert twice == []
            green = {row["tree"] for row in db.execute(
                "select tree from test_verdict where verdict = 'green'"
            )}  # fmt: skip
            for project in projects.active(db):
                hub = self.desk.hub(project)
                tips = {row["new_main"] for row in db.execute(
                    "select new_main from landing where project = %s and state = 'landed'",
                    (project.id,),
                )}  # fmt: skip
                tips.add(hub.resolve(project.main_ref))
                untested = {t for t in tips if hub.tree_of(t) not in green}
                assert untested == set(), f"{project.slug}: tips nobody tested"


def config(
    repos: dict[str, Path], agent: Path, changes: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A clawd.yaml as a dictionary: scripted agents, no cage, every project under care."""
    made: dict[str, Any] = {
        "login": "none",
        "sandbox": "none",
        "claude": {"path": str(agent), "minimum": "0.0.0"},
        "landing": "branch",
        "agents": {"dev": {"count": 3}, "qa": {"count": 2}},
        "limits": {"max_live": 6},
        "train": {"retry_red": False},
        "roadmap": {"poll_s": 1, "debounce_s": 0.05},
        "projects": {
            slug: {"path": str(path), "test": TEST_COMMAND, "max_agents": 4}
            for slug, path in repos.items()
        },
    }
    for key, value in (changes or {}).items():
        at, _, rest = key.partition(".")
        if rest:
            made.setdefault(at, {})[rest] = value
        else:
            made[key] = value
    return made


@contextmanager
def open_line(
    home: Path, database: str, repos: dict[str, Path], changes: dict[str, Any] | None = None
) -> Iterator[Line]:
    """A line over these repositories with main judged green, and no process left behind."""
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("CLAWD_DATABASE_URL", database)
        (home / "clawd.yaml").write_text(yaml.safe_dump(config(repos, scripted_agent(), changes)))
        desk = stack.enter_context(daemon.open_desk(home))
        line = Line(desk, home, repos, database)
        stack.callback(end_everything, line)
        line.advance(seconds=0)
        for slug in repos:
            baseline.keep(desk, line.project(slug))
        yield line


def end_everything(line: Line) -> None:
    """Ends every run the test has left, whatever state it is in."""
    line.desk.stop.set()
    with line.desk.db() as db:
        live = runs.live(db)
    for run in live:
        folder = line.desk.run_folder(run.id)
        if folder.exists():
            launch.stop(folder, "the test is over")
    for run in live:
        folder = line.desk.run_folder(run.id)
        if (folder / "spec.json").exists():
            launch.wait(folder, 8, threading.Event())
    for marker in set(find_marked(line.desk.mark).values()):
        kill_marked(marker)


@contextmanager
def daemon_thread(line: Line) -> Iterator[daemon.Daemon]:
    """The real loops in their threads; the ordered stop at the end."""
    running = daemon.Daemon(line.desk, line.conninfo)
    running.end_runs.set()
    thread = threading.Thread(target=running.run, name="daemon")
    thread.start()
    try:
        yield running
    finally:
        line.desk.stop.set()
        thread.join(60)
        assert not thread.is_alive()
        line.desk.stop.clear()


def wait_for(what: Callable[[], Any], timeout_s: float = PATIENCE_S, say: str = "") -> Any:
    """Waits until something is true and returns it."""
    deadline = time.monotonic() + timeout_s
    while not (found := what()):
        assert time.monotonic() < deadline, say or "it took too long"
        time.sleep(0.05)
    return found


__all__ = [
    "ALL", "DEV", "FILES", "REVIEW", "Line", "approvals", "clock", "config", "daemon_thread",
    "moves", "open_line", "wait_for",
]  # fmt: skip
