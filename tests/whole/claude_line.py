"""The whole product line with the real `claude` program, against the scripted model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from clawd import steer
from clawd.adapters import postgres
from clawd.adapters.claude import Binary
from clawd.model import Run, Task
from clawd.running import launch
from clawd.store import moves, projects, runs, tasks
from clawd.store.rows import Db
from tests.model.scenarios import TEST_COMMAND, tiny_repo
from tests.model.script import Rule
from tests.model.server import ModelServer, serving
from tests.whole.line import clock

ROOT = Path(__file__).parents[2]
KEY = "test-key-4f1c0ffee"
QUICK = {"retries": 0, "api_timeout_s": 10}


@dataclass
class Line:
    """A home with its daemon at work, the operator's repository and the model it talks to."""

    home: Path
    repo: Path
    server: ModelServer
    db: Db
    daemon: subprocess.Popen[bytes]
    environ: dict[str, str]

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        return self.db.execute(query, values).fetchall()

    def value(self, query: str, *values: object) -> Any:
        found = self.rows(query, *values)
        return next(iter(found[0].values())) if found else None

    def add_task(self, title: str = "Add subtract", **more: Any) -> int:
        """A task of the operator's own: no roadmap, no planner."""
        project = projects.active(self.db)[0]
        accept = more.pop("accept", ['python3 -c "import calc.subtract"'])
        steer.add_task(self.db, project, title, accept=accept, **more)
        return int(self.value("select max(id) from task"))

    def task(self, task: int = 1) -> Task:
        found = tasks.by_id(self.db, task)
        assert found is not None
        return found

    def runs(self, task: int = 1) -> list[Run]:
        return runs.of_task(self.db, task)

    def told(self) -> str:
        """Everything the operator was told so far."""
        found = self.rows("select body from outbox where channel = 'operator' order by id")
        return "\n".join(str(row["body"]["text"]) for row in found)

    def until(self, true: Callable[[], Any], what: str, timeout_s: float = 100) -> Any:
        """The first true answer; else the story of everything so far."""
        deadline = monotonic() + timeout_s
        while monotonic() < deadline and self.daemon.poll() is None:
            answer = true()
            if answer:
                return answer
            sleep(0.1)
        raise AssertionError(f"not seen in {timeout_s:.0f} s: {what}\n{self.story()}")

    def wait_over_rests(self, true: Callable[[], Any], what: str) -> None:
        """As `until`; whoever rests after failures in a row need not be waited for."""

        def look() -> Any:
            if self.value("select count(*) from breaker where probe_at > clawd_now()"):
                self.skip_time(minutes=30)
            return true()

        self.until(look, what)

    def ended(self, count: int = 1, task: int = 1, timeout_s: float = 100) -> list[Run]:
        """The task's ended runs, once there are this many."""

        def look() -> list[Run]:
            found = [run for run in self.runs(task) if run.ended_at]
            return found if len(found) >= count else []

        found: list[Run] = self.until(look, f"{count} ended runs of task {task}", timeout_s)
        return found

    def story(self) -> str:
        said = self.rows("select subject, action, why, inputs from lineage order by id")
        lines = [
            f"{row['subject']} {row['action']}: {row['why'][:300]} {row['inputs'].get('red', '')}"
            for row in said
        ]
        log = self.home / "logs" / "clawd.log"
        tail = log.read_text()[-3000:] if log.exists() else ""
        lost = [call.prompt[:500] for call in self.server.unscripted]
        return "\n".join([*lines, "TOLD", self.told(), "UNSCRIPTED", *lost, "LOG", tail])

    def git(self, *words: str, hub: bool = False) -> str:
        where = self.home / "hubs" / "calc.git" if hub else self.repo
        done = subprocess.run(
            ["git", "-C", str(where), *words], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def clawd(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The command line, on this home."""
        return subprocess.run(
            [sys.executable, "-m", "clawd", "--home", str(self.home), *words],
            cwd=ROOT, env=self.environ, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def now(self) -> datetime:
        moment: datetime = self.value("select clawd_now() as now")
        return moment

    def stop(self) -> None:
        """The ordered stop ends the runs too; what it should leave is ended here."""
        self.daemon.send_signal(signal.SIGINT)
        try:
            self.daemon.wait(40)
        finally:
            if self.daemon.poll() is None:
                self.daemon.kill()
                self.daemon.wait(10)
            for folder in (self.home / "runs").glob("*"):
                if isinstance(launch.look(folder), launch.Alive):
                    launch.stop(folder, "killed: the test is over")
                    launch.wait(folder, 10, threading.Event())

    def restart(self, **client: str) -> None:
        """The daemon stops in order and comes back with another `claude` in its configuration."""
        self.stop()
        write_config(self.home, self.repo, **client)
        (self.home / "daemon.beat").unlink(missing_ok=True)
        self.daemon = _start(self.home, self.environ)
        self.until((self.home / "daemon.beat").exists, "the daemon is back")

    def skip_time(self, **parts: float) -> None:
        """The database's clock, clawd's only one for schedules, goes on by this much."""
        clock(self.db, timedelta(**parts))
        moves.hint(self.db)


def write_login(home: Path, url: str, key: str = "ANTHROPIC_API_KEY") -> None:
    login = home / "agent.env"
    login.touch(mode=0o600)
    login.write_text(f"{key}={KEY}\nANTHROPIC_BASE_URL={url}\n")


def write_config(home: Path, repo: Path, path: str, minimum: str = "", **changes: Any) -> None:
    """clawd.yaml; JSON is YAML."""
    config: dict[str, Any] = {
        "claude": {"path": path, **QUICK, **({"minimum": minimum} if minimum else {})},
        "landing": "branch",
        "agents": {"dev": {"count": 1}, "qa": {"count": 1}},
        "limits": {"max_live": 3},
    }
    project = {"path": str(repo), "test": TEST_COMMAND, "max_agents": 2}
    config["projects"] = {"calc": {**project, **changes.pop("projects", {})}}
    for key, value in changes.items():
        config[key] = {**config[key], **value} if isinstance(config.get(key), dict) else value
    (home / "clawd.yaml").write_text(json.dumps(config))


@contextmanager
def at_work(
    home: Path,
    database: str,
    binary: Binary | Path,
    rules: list[Rule],
    *,
    login: str = "ANTHROPIC_API_KEY",
    roadmap: bool = False,
    files: dict[str, str] | None = None,
    **config: Any,
) -> Iterator[Line]:
    """A daemon at work in a scrubbed environment; nothing of it is left afterwards."""
    repo = tiny_repo(home / "repo")
    commit(repo, {**({} if roadmap else {"ROADMAP.md": "# Roadmap\n"}), **(files or {})})
    operator = home / "operator"
    operator.mkdir()
    environ = {
        "PATH": os.environ["PATH"], "HOME": str(operator), "LANG": "C.UTF-8",
        "CLAWD_DATABASE_URL": database,
    }  # fmt: skip
    path = binary.path if isinstance(binary, Binary) else binary
    with serving(rules) as server, postgres.connect(database, application_name="tests") as db:
        write_login(home, server.url, login)
        write_config(home, repo, str(path), **config)
        daemon = _start(home, environ)
        line = Line(home, repo, server, db, daemon, environ)
        try:
            line.until(lambda: projects.active(db), "the daemon is up")
            yield line
        finally:
            server.closing.set()
            line.stop()


def commit(repo: Path, files: dict[str, str]) -> None:
    """The operator's own commit."""
    for name, text in files.items():
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_text(text)
    git = ["git", "-C", str(repo), "-c", "user.name=Op", "-c", "user.email=op@example.invalid"]
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "more"], check=True)


def _start(home: Path, environ: dict[str, str]) -> subprocess.Popen[bytes]:
    with (home / "up.log").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "clawd", "--home", str(home), "up", "--foreground"],
            cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
