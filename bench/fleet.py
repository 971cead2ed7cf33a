"""A daemon with hundreds of the smallest agents, a long queue, and a look at what it all takes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.sample import ME, Sample
from clawd import daemon
from clawd.adapters import postgres, server

STANDIN = Path(__file__).with_name("standin")
CONFIG = """\
login: none
claude: {{path: {agent}, minimum: 0.0.0}}
landing: branch
agents: {{dev: {{count: {agents}}}, qa: {{count: {reviewers}}}}}
limits: {{max_live: {live}, load_per_core: 0}}
budget: {{day_usd: 100000}}
projects:
  bench: {{path: {path}, test: "true", max_agents: 512}}
"""
# Queued work as `task add` leaves it, without the line in the history that says who added it.
TASKS = """
with added as (
  insert into task (project, title, priority, scope, size_minutes)
  select 1, %(title)s || ' ' || n, %(priority)s, array[%(title)s || '/' || n || '/**'], 20
  from generate_series(1, %(count)s) n returning id, scope)
insert into contract (task, version, body, digest, by)
select id, 1, jsonb_build_object('spec', 'do it', 'acceptance', '[]'::jsonb, 'scope', scope,
  'may_change', '[]'::jsonb, 'answers', '[]'::jsonb), md5(id::text), 'bench' from added
"""


@dataclass(frozen=True, slots=True)
class Group:
    """Processes of one kind: how many, and what they take together, in MB."""

    name: str
    count: int
    rss_mb: float
    pss_mb: float

    def show(self) -> None:
        print(f"    {self.name:<10} {self.count:4} processes   {self.pss_mb:7.0f} MB proportional"
              f"   {self.rss_mb:7.0f} MB resident")  # fmt: skip


@contextmanager
def fleet(folder: Path, live: int, reviewers: int) -> Iterator[Sample]:
    """`clawd up` with so many agents of a role on an empty repository; main is judged green."""
    repository = folder / "repository"
    make_repository(repository, {"ROADMAP.md": "# Roadmap\n\nNothing yet.\n"})
    tools = folder / "tools"
    tools.mkdir()
    shutil.copy(STANDIN, tools / "agent")
    home = folder / "home"
    home.mkdir(mode=0o700)
    write_config(home, folder, live, live, reviewers)
    try:
        daemon.start_in_background(home)
        pid = daemon.is_running(home)
        assert pid is not None
        with postgres.connect(daemon.database(home), application_name="bench") as db:
            sample = Sample(home, pid, db)
            green = "select 1 from project where baseline_verdict = 'green'"
            sample.wait(lambda: sample.row(green), "a green main")
            yield sample
    finally:
        daemon.stop(home, 300)
        server.discard(home)


def write_config(home: Path, folder: Path, live: int, agents: int, reviewers: int) -> None:
    """The configuration of a home that cares for the bench's repository."""
    text = CONFIG.format(agent=folder / "tools" / "agent", path=folder / "repository",
                         live=live, agents=agents, reviewers=reviewers)  # fmt: skip
    (home / "clawd.yaml").write_text(text)


def make_repository(path: Path, files: dict[str, str]) -> None:
    """A repository with one commit."""
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    for step in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(path), *step], check=True, env={**os.environ, **ME})


def add_tasks(sample: Sample, title: str, count: int, priority: int) -> None:
    """Many tasks in one statement."""
    with sample.db.transaction():
        sample.db.execute("set local session_replication_role = replica")
        sample.db.execute("set local statement_timeout = 0")
        sample.db.execute(TASKS, {"title": title, "count": count, "priority": priority})
    sample.db.execute("analyze task")
    sample.db.execute("notify clawd")


def footprint(sample: Sample) -> list[Group]:
    """Daemon, keepers, database, and apart from these the agents with their cages."""
    row = sample.row("select pg_backend_pid() as pid")
    assert row is not None
    postmaster = psutil.Process(row["pid"]).parent()
    assert postmaster is not None
    keepers = [p for p in psutil.process_iter() if _keeps(p, sample.home)]
    agents = [child for keeper in keepers for child in _children(keeper)]
    return [
        _group("daemon", [psutil.Process(sample.pid)]),
        _group("keepers", keepers),
        _group("Postgres", [postmaster, *postmaster.children()]),
        _group("agents", agents),
    ]


def _keeps(process: psutil.Process, home: Path) -> bool:
    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    runs = f"{home}/runs/"
    return any(w.endswith("keeper.py") for w in words) and any(w.startswith(runs) for w in words)


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _group(name: str, processes: Iterable[psutil.Process]) -> Group:
    count = rss = pss = 0
    for process in processes:
        try:
            seen = process.memory_full_info()
        except psutil.Error:
            continue
        count, rss, pss = count + 1, rss + seen.rss, pss + getattr(seen, "pss", seen.rss)
    return Group(name, count, rss / 1e6, pss / 1e6)
