"""One tiny task, landed to prove that the whole line works."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from time import monotonic

from clawd import daemon, steer
from clawd.adapters import postgres
from clawd.errors import ClawdError
from clawd.model import Task, TaskState
from clawd.pipeline.desk import Desk
from clawd.setup.checklist import Checklist
from clawd.setup.choices import Choices
from clawd.store import landings, projects, tasks
from clawd.store.rows import Db

FILE = "docs/clawd.md"
LIMIT_S = 1800.0
_POLL_S = 0.25
_LANDED = (TaskState.DONE, TaskState.VERIFYING)
_ENDED = (*_LANDED, TaskState.PARKED, TaskState.WAITING, TaskState.CANCELLED, TaskState.ROLLED_BACK)
_SPEC = f"Add the file {FILE} with one line of text that greets the reader. Change nothing else."


def offer(out: Checklist, desk: Desk, slug: str, wanted: Choices) -> None:
    """Proves the line when the operator agrees; it costs a few cents with a real model."""
    with desk.db() as db:
        project = projects.by_slug(db, slug)
        landed = project is not None and landings.any_of(db, project.id)
    if landed:
        return
    agreed = wanted.prove
    if agreed is None:
        question = f"Land one tiny task now ({FILE}), to prove that everything works?"
        agreed = out.answer(question, "no", ("yes", "no")) == "yes"
    if not agreed:
        return
    try:
        task = prove(desk.home, slug, out)
    except ClawdError as error:
        out.miss("proof", error.message, error.remedy or "Run `clawd doctor`.")
        return
    if task.state in _LANDED:
        out.tick("proof", f"task {task.id} landed {FILE}; take it back: clawd undo {task.id}")
        return
    reason = f": {task.reason}" if task.reason else ""
    remedy = task.action or f"See why: clawd why {task.id}"
    out.miss("proof", f"task {task.id} is {task.state}{reason}", remedy)


def prove(home: Path, slug: str, out: Checklist | None = None, limit_s: float = LIMIT_S) -> Task:
    """Adds the task, lets the daemon land it, and returns how it stands at the end."""
    told = out or Checklist()
    ours = daemon.is_running(home) is None
    conninfo = postgres.resolve(home, os.environ)
    with postgres.connect(conninfo, application_name="clawd prove") as db:
        project = projects.by_slug(db, slug)
        if project is None:
            raise ClawdError(f"There is no project {slug!r}.", "Run `clawd init` first.")
        added = steer.add_task(
            db,
            project,
            "Say hello to clawd",
            _SPEC,
            accept=(f"test -s {FILE}",),
            scope=(FILE,),
            priority=0,
            idem_key=f"hello:{project.id}",
        )
        assert added.id is not None  # noqa: S101 - a task that was added has its number
        if ours:
            daemon.start_in_background(home)
        try:
            return _follow(db, home, added.id, told, limit_s)
        finally:
            if ours:
                daemon.stop(home)


def _follow(db: Db, home: Path, task: int, told: Checklist, limit_s: float) -> Task:
    """Says each state once, until the task has ended or the time is over."""
    deadline = monotonic() + limit_s
    patience = threading.Event()
    seen = ""
    while True:
        now = tasks.by_id(db, task)
        assert now is not None  # noqa: S101 - tasks are never deleted
        if now.state.value != seen:
            seen = now.state.value
            told.note(f"task {task}: {seen}")
        if now.state in _ENDED or monotonic() > deadline:
            return now
        if daemon.is_running(home) is None:
            raise ClawdError("The daemon has stopped.", f"See {home / 'logs' / 'clawd.log'}.")
        patience.wait(_POLL_S)
