"""The operator's verbs on goals: write one into ROADMAP.md, plan one again."""

from __future__ import annotations

import os
from pathlib import Path

from clawd.adapters.regular import read_regular
from clawd.errors import ClawdError, Refused
from clawd.model import Goal, GoalState, Project
from clawd.policy import roadmap
from clawd.steer import words
from clawd.steer.words import OPERATOR, By, Outcome
from clawd.store import edits, moves, projects
from clawd.store.rows import Db

ROADMAP = "ROADMAP.md"
READ_LIMIT_BYTES = 4_000_000


def add_goal(
    db: Db, project: Project, title: str, detail: str = "", *, by: By = OPERATOR
) -> Outcome:
    """Appends an unticked item to the working copy's ROADMAP.md; clawd reads it from there."""
    name = words.title(title, "the lines under it (--detail)")
    body = words.spec(detail)
    path = Path(project.path) / ROADMAP
    before = _read(path)
    after = _appended(before, name, body)
    _write(path, after)
    with db.transaction():
        moves.tell(db, "project", project.id, "goal_add", f"the operator wrote a goal: {name}",
                   actor="operator", facts=by.facts(title=name, path=str(path)))  # fmt: skip
        moves.hint(db, "roadmap")
    line = next(item.line for item in roadmap.parse(after).items if item.title == name)
    return Outcome("goal add", f"Written to {path}:{line}. clawd reads it while your checkout is "
                   "on main; commit it when you like.", "project", project.id,
                   next="clawd goal list")  # fmt: skip


def reopen_goal(db: Db, goal: int, *, by: By = OPERATOR) -> Outcome:
    """A finished or blocked goal is planned again."""
    with db.transaction():
        before = edits.lock_goal(db, goal)
        if before is None:
            raise moves.Missing(f"There is no goal {goal}.", "See them: clawd goal list --all")
        event = {GoalState.DONE: "reopen", GoalState.BLOCKED: "edit", GoalState.PLANNED: "edit"}
        if before.state is GoalState.WITHDRAWN:
            raise Refused(f"Goal {goal} is not in ROADMAP.md any more.", "Put its line back there.")
        if before.state not in event:
            raise Refused(f"Goal {goal} is {before.state} already.", f"See clawd goal show {goal}")
        after = moves.move_goal(db, goal, event[before.state], why="the operator wants it planned "
                                "again", actor="operator", facts=by.facts(), done_by="",
                                ticked=False)  # fmt: skip
        moves.hint(db, "roadmap")
    if before.state is GoalState.DONE:
        _untick(db, before)
    return Outcome("goal reopen", f"Goal {goal} is planned again: {after.title}", "goal", goal,
                   str(after.state))  # fmt: skip


def _read(path: Path) -> str:
    try:
        return read_regular(path, READ_LIMIT_BYTES).decode()
    except FileNotFoundError:
        return "# Roadmap\n"
    except (OSError, UnicodeDecodeError) as error:
        raise ClawdError(
            f"{path} cannot be read: {error}.", "Restore it from git and save it again."
        ) from None


def _appended(before: str, title: str, body: str) -> str:
    """The text with one more item, proven by reading it back."""
    end = "\r\n" if "\r\n" in before else "\n"
    known = roadmap.parse(before).items
    joint = "" if before.endswith("\n") or not before else end
    item = f"- [ ] {title}{end}" + "".join(
        f"      {line}".rstrip() + end for line in body.splitlines()
    )
    # A list right above takes the item in; anything else wants an empty line between.
    for gap in ("", end):
        after = before + joint + gap + item
        found = roadmap.parse(after).items
        if len(found) == len(known) + 1 and found[-1].title == title and not found[-1].done:
            return after
    raise Refused(
        "A goal at the end of ROADMAP.md would not be read as one.",
        f"Write it yourself where it belongs: - [ ] {title}",
    )


def _write(path: Path, text: str) -> None:
    path = Path(os.path.realpath(path))  # a link stays a link
    draft = path.with_name(f".{path.name}.clawd")
    try:
        with draft.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
        if path.exists():
            draft.chmod(path.stat().st_mode & 0o777)
            os.chown(draft, path.stat().st_uid, path.stat().st_gid)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise ClawdError(
            f"{path} cannot be written: {error.strerror}.", "Check the folder's owner and mode."
        ) from None


def _untick(db: Db, goal: Goal) -> None:
    """The box in the working copy is cleared too, or the next reading would finish it again."""
    project = projects.by_id(db, goal.project)
    path = Path(project.path if project else "") / ROADMAP
    if project is None or not path.exists():
        return
    before = _read(path)
    after = roadmap.untick(before, goal.title, goal.line, goal.ident)
    if after != before:
        _write(path, after)
