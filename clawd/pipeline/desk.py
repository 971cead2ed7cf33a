"""What every stage needs at hand: the home, the configuration, the database, the hubs."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from psycopg_pool import ConnectionPool

from clawd.adapters.git.hub import Hub
from clawd.adapters.git.warm import WarmPool
from clawd.config import Config
from clawd.model import Project
from clawd.store.rows import Db

# How long a loop sleeps when nobody wakes it: hints are quick, this repairs the lost ones.
IDLE_S = 15.0

_LOG = logging.getLogger("clawd")


@dataclass(slots=True)
class Desk:
    """The daemon's working place; every path of the home is spelled here and nowhere else."""

    home: Path
    config: Config
    host: str
    pool: ConnectionPool[Any]
    stop: threading.Event = field(default_factory=threading.Event)
    wake_socket: Path | None = None
    epoch: int = 0
    starting: set[int] = field(default_factory=set)  # planning runs whose process is not there yet
    _warm: dict[int, WarmPool] = field(default_factory=dict)
    _warm_lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def db(self) -> Iterator[Db]:
        """A connection for a few statements; never held while anything else runs."""
        with self.pool.connection(timeout=10) as connection:
            yield connection

    def hub(self, project: Project) -> Hub:
        """The project's bare repository, made when it is not there."""
        return Hub.create(self.home / "hubs" / f"{project.slug}.git", branch_of(project))

    def warm(self, project: Project) -> WarmPool:
        """The project's stock of pre-made clones."""
        with self._warm_lock:
            if project.id not in self._warm:
                folder = self.home / "warm" / project.slug
                self._warm[project.id] = WarmPool(self.hub(project), folder, size=2)
            return self._warm[project.id]

    @property
    def mark(self) -> str:
        """What every process of this home carries: another home's runs have the same numbers."""
        home = hashlib.sha256(str(self.home.resolve()).encode()).hexdigest()
        return f"{self.host}-{home[:8]}"

    def run_folder(self, run: int) -> Path:
        return self.home / "runs" / str(run)

    def task_home(self, task: int) -> Path:
        return self.home / "tasks" / str(task) / "home"

    def scratch(self, name: str) -> Path:
        """A folder for trees that live as long as one check or test."""
        folder = self.home / "scratch"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder / name

    @property
    def layers(self) -> Path:
        return self.home / "layers"

    @property
    def login_file(self) -> Path:
        return self.home / "agent.env"

    @property
    def freeze_file(self) -> Path:
        return self.home / "freeze"

    @property
    def beat_file(self) -> Path:
        return self.home / "daemon.beat"

    def now(self) -> datetime:
        """The database's time: the only clock leases and schedules are judged by."""
        with self.db() as db:
            row = db.execute("select clawd_now() as now").fetchone()
        assert row is not None  # noqa: S101 - a select of one value returns its row
        moment: datetime = row["now"]
        return moment

    def log(self, action: str, *, level: int = logging.INFO, **ids: Any) -> None:
        """One event a line, with its action and the ids it is about."""
        _LOG.log(level, action, extra={"action": action, "ids": ids})

    def failed(self, where: str, error: BaseException) -> None:
        """Something nobody expected: the log gets the whole of it, the loop goes on."""
        extra = {"action": "failed", "ids": {"where": where}}
        _LOG.error(str(error), exc_info=error, extra=extra)


def branch_of(project: Project) -> str:
    """The name of the project's main branch."""
    return project.main_ref.removeprefix("refs/heads/")
