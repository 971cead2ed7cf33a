"""Lays a run's private clone, its three files and its home, and reads back what it left."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clawd.adapters import crash
from clawd.adapters.git import tree
from clawd.adapters.git.hub import Hub
from clawd.adapters.git.intake import salvage_ref
from clawd.adapters.git.message import Identity
from clawd.model import Agent, Candidate, Project, Run, Task
from clawd.pipeline.desk import Desk
from clawd.store import runs, tasks
from clawd.store.tasks import Arrival

CLAWD_FOLDER = ".clawd"
OUTBOX_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a run's work starts: the commit in the clone, and the base its diff counts from."""

    start: str
    base: str
    kept: str = ""  # commits up to here were imported before and stay as they are
    merge_of: str = ""  # a candidate to be merged onto start, markers left


CLAWD = Identity("clawd", "clawd@clawd.invalid")


def identity_of(agent: Agent) -> Identity:
    """The name every commit of an agent carries."""
    return Identity(agent.name, f"{agent.name}@clawd.invalid")


def choose_origin(desk: Desk, project: Project, task: Task) -> Origin:
    """Sent back by the train: on today's main. Else its candidate, its salvage, or main."""
    hub = desk.hub(project)
    main = hub.resolve(project.main_ref)
    with desk.db() as db:
        came = tasks.arrival(db, task.id)
        candidate = runs.candidate(db, task.candidate) if task.candidate else None
        earlier = [r for r in runs.of_task(db, task.id) if r.role == "dev" and r.ended_at]
    if candidate is not None and not candidate.no_change and hub.has(candidate.oid):
        if _was_bounced(came):
            return Origin(main, main, merge_of=candidate.oid)
        half = hub.head(salvage_ref(earlier[-1].id)) if earlier else None
        asked = came is not None and came.event == "resume_dev"
        if asked and half is not None and hub.is_ancestor(candidate.oid, half):
            return Origin(half, candidate.base_oid, kept=candidate.oid)
        return Origin(candidate.oid, candidate.base_oid, kept=candidate.oid)
    if earlier and earlier[-1].base_oid:
        kept = hub.head(salvage_ref(earlier[-1].id))
        if kept is not None and hub.is_ancestor(earlier[-1].base_oid, kept):
            return _on_salvage(hub, main, kept, earlier[-1].base_oid, came)
    return Origin(main, main)


def _on_salvage(hub: Hub, main: str, kept: str, base: str, came: Arrival | None) -> Origin:
    """Half-done work goes on where it stood; after a person's answer, on the main of today."""
    if hub.tree_of(kept) == hub.tree_of(base):
        return Origin(main, main)
    if came is not None and came.event == "resume_dev" and not hub.is_ancestor(main, kept):
        return Origin(main, main, merge_of=kept)
    return Origin(kept, base)


def _was_bounced(came: Arrival | None) -> bool:
    return came is not None and came.event == "bounce"


def lay(desk: Desk, project: Project, run: Run, origin: Origin, identity: Identity) -> Path:
    """A fresh private clone for this run; a used one is never reused."""
    hub = desk.hub(project)
    path = workspace_path(desk, run)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    tree.remove(path)
    if origin.merge_of:
        tree.merge_markers(hub, origin.start, origin.merge_of, path, identity=identity)
    else:
        desk.warm(project).take(origin.start, path, identity=identity)
    return path


def lay_candidate(desk: Desk, project: Project, run: Run, candidate: Candidate) -> Path:
    """The tree a reviewer reads, from the hub and never from the developer's workspace."""
    path = workspace_path(desk, run)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    tree.remove(path)
    desk.warm(project).take(candidate.oid, path)
    return path


def workspace_path(desk: Desk, run: Run) -> Path:
    """Where a run's clone lives: in its task's folder, else in its own."""
    if run.task is not None:
        return desk.home / "tasks" / str(run.task) / f"work-{run.id}"
    return desk.run_folder(run.id) / "work"


def home_path(desk: Desk, run: Run) -> Path:
    """The agent's HOME: one for a task and role, so that its sessions can be resumed."""
    if run.task is not None:
        return desk.task_home(run.task) / run.role
    return desk.run_folder(run.id) / "home"


def write_files(workspace: Path, files: dict[str, str]) -> None:
    """The daemon's files for the agent, in a folder that is kept out of commits."""
    folder = workspace / CLAWD_FOLDER
    if folder.is_symlink() or folder.is_file():
        folder.unlink()  # a tracked file of that name must not lead the daemon elsewhere
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        path = folder / name
        if path.is_symlink():
            path.unlink()
        path.write_text(text, encoding="utf-8", errors="replace")


def read_outbox(workspace: Path) -> tuple[Any, str]:
    """What the agent wrote for the daemon, and what was wrong with it; never follows a link."""
    try:
        raw = _read_plain(workspace / CLAWD_FOLDER, "outbox.json")
    except (FileNotFoundError, NotADirectoryError):
        return {}, ""
    except OSError:
        return {}, "outbox.json is not a plain file"
    if len(raw) > OUTBOX_LIMIT_BYTES:
        return {}, "outbox.json is larger than 1 MB"
    try:
        return json.loads(raw.decode("utf-8", "replace")), ""
    except (ValueError, RecursionError) as error:
        return {}, f"outbox.json is not JSON: {error}"


def _read_plain(folder: Path, name: str) -> bytes:
    """A regular file's first bytes, with no link on the way and no wait on a pipe."""
    inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=inside)
    finally:
        os.close(inside)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError("not a plain file")
        return file.read(OUTBOX_LIMIT_BYTES + 1)


def clear(desk: Desk, run: Run) -> None:
    """Removes a run's clone once what it holds is in the hub."""
    crash.point("cleanup.before")
    tree.remove(workspace_path(desk, run))
    crash.point("cleanup.after")
