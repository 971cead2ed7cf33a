"""The operator's verbs on everything at once: pause, resume, kill."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from time import monotonic

from clawd.errors import ClawdError, UsageError
from clawd.model import Project
from clawd.policy.failure import Reason
from clawd.policy.outcome import WAITED_FOR
from clawd.running import launch
from clawd.steer import words
from clawd.steer.words import OPERATOR, By, Outcome
from clawd.store import breakers, edits, moves, projects
from clawd.store.rows import Db

FREEZE_FILE = "freeze"


def pause(
    db: Db,
    project: Project | None = None,
    *,
    why: str = "",
    until: datetime | None = None,
    by: By = OPERATOR,
) -> Outcome:
    """No claims and no landings; runs that are under way go on to their end."""
    reason = words.clean(why).strip()[:500] or "the operator paused it"
    scope, key = ("all", "") if project is None else ("project", project.slug)
    with db.transaction():
        projects.pause(db, scope, key, reason, by.name, until)
        _tell(db, project, "pause", reason, by)
        moves.hint(db)
    what = "Everything is paused" if project is None else f"{project.slug} is paused"
    again = "clawd resume" if project is None else f"clawd project resume {project.slug}"
    return Outcome("pause", f"{what}: no claims, no landings; live runs go on.", scope,
                   None if project is None else project.id, "paused", next=again)  # fmt: skip


def resume(
    db: Db, project: Project | None = None, *, home: Path | None = None, by: By = OPERATOR
) -> Outcome:
    """Lifts a pause and the rest after failures; without a project also the kill switch."""
    scope, key = ("all", "") if project is None else ("project", project.slug)
    with db.transaction():
        was_paused = projects.resume(db, scope, key)
        rested = breakers.hurry(db, None if project is None else project.slug)
        if project is None and projects.resume(db, "all", projects.AGENTS):
            was_paused = True
            edits.hurry_the_refused(db, [reason.value for reason in WAITED_FOR])
        thawed = project is None and home is not None and unfreeze(home)
        if was_paused or thawed or rested:
            _tell(db, project, "resume", "the operator resumed it", by)
        moves.hint(db)
    what = "clawd works" if project is None else f"{project.slug} is worked on"
    said = f"{what} again." if was_paused or thawed or rested else "Nothing was paused."
    return Outcome("resume", said, scope, None if project is None else project.id, "active")


def freeze(home: Path, *, why: str = "", by: By = OPERATOR) -> None:
    """The kill switch itself: a file every keeper looks for twice a second; no database needed."""
    if not home.is_dir():
        raise UsageError(f"There is no clawd home at {home}.", "Name it with --home.")
    note = {"by": by.name, "channel": by.channel, "why": words.clean(why).strip()[:500]}
    draft = home / f".{FREEZE_FILE}.{os.getpid()}"
    try:
        draft.write_text(json.dumps(note) + "\n", "utf-8")
        draft.rename(home / FREEZE_FILE)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        with contextlib.suppress(OSError):
            (home / FREEZE_FILE).touch()  # a full disk has room for an empty file
            return
        raise ClawdError(
            f"The kill switch could not be written: {error.strerror}.",
            f"Make {home / FREEZE_FILE} by hand: an empty file is enough.",
        ) from None


def unfreeze(home: Path) -> bool:
    """Takes the kill switch away; False when it was not set."""
    try:
        (home / FREEZE_FILE).unlink()
    except FileNotFoundError:
        return False
    return True


def kill(home: Path, db: Db | None, *, why: str = "", by: By = OPERATOR) -> Outcome:
    """Every agent dies now and nothing starts until resume; their tasks go back to the queue."""
    freeze(home, why=why, by=by)
    yielded = [] if db is None else _yield_all(db, why, by)
    ended = end_runs(home)
    said = f"Killed: {_count(ended, 'run')} ended, {_count(len(yielded), 'task')} back in the queue"
    if db is None:
        said = f"Killed: {_count(ended, 'run')} ended; the database is down, tasks follow later"
    return Outcome("kill", f"{said}. Nothing starts until resume.", "all", None, "killed",
                   next="clawd resume")  # fmt: skip


def end_runs(home: Path, ask: str = "", patience_s: float = 4.0) -> int:
    """Waits until every keeper has ended its run, and ends those that do not answer.

    With the kill switch set they need not be asked; `ask` is the reason otherwise.
    """
    folders = list(_open_runs(home))
    for folder in folders if ask else ():
        launch.stop(folder, f"restarted: {ask}")
    stop, deadline = threading.Event(), monotonic() + patience_s
    ended = 0
    for folder in folders:
        lived, swept = isinstance(launch.look(folder), launch.Alive), 0
        with contextlib.suppress(ClawdError):
            if launch.wait(folder, max(0.01, deadline - monotonic()), stop) is None:
                swept = launch.sweep(_marker(folder))
        ended += lived or swept > 0  # what was lost long ago is not ended now
    return ended


def _yield_all(db: Db, why: str, by: By) -> list[int]:
    reason = words.clean(why).strip()[:500] or "the operator pulled the kill switch"
    done = []
    with db.transaction():
        projects.pause(db, "all", "", reason, by.name, None)
        for task in edits.leased(db):
            moves.move_task(db, task.id, "yield", why=reason, actor="operator", facts=by.facts(),
                            reason=Reason.KILLED)  # fmt: skip
            done.append(task.id)
        _tell(db, None, "kill", reason, by)
        moves.hint(db)
    return done


def _tell(db: Db, project: Project | None, verb: str, why: str, by: By) -> None:
    """A decision about everything is written into the chain of each project."""
    for one in [project] if project is not None else projects.active(db):
        moves.tell(db, "project", one.id, verb, why, actor="operator", facts=by.facts())


def _open_runs(home: Path) -> Iterator[Path]:
    """Run folders whose keeper still holds them, or died without a result."""
    try:
        entries = sorted(os.scandir(home / "runs"), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        folder = Path(entry.path)
        if (folder / "result.json").exists() or not (folder / "spec.json").exists():
            continue
        if isinstance(launch.look(folder), launch.Alive | launch.Lost):
            yield folder


def _marker(folder: Path) -> str:
    try:
        return str(json.loads((folder / "spec.json").read_text("utf-8"))["marker"])
    except (OSError, ValueError, KeyError):
        return ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
