"""What the operator is told, each message under its own key so that it is said once."""

from __future__ import annotations

from pathlib import Path

from clawd.adapters.git import operator
from clawd.model import Goal, Project, Task
from clawd.store import outbox
from clawd.store.rows import Db
from clawd.store.views import Overview

BASE_REMEDIES = {
    "red": "Fix it yourself, or add `known_red` to the project in clawd.yaml.",
    "flaky": "Some tests change their mind on the same tree; fix or skip them.",
    "no_command": "Set `test` for the project in clawd.yaml: without tests nothing lands.",
    "setup_failed": "Fix `setup` for the project in clawd.yaml; the output says what failed.",
}


def needs_you(db: Db, project: Project, text: str, *, dedupe: str) -> None:
    """Something only a person can settle."""
    outbox.put(db, "needs_you", {"project": project.slug, "text": text}, dedupe)


def notice(db: Db, project: Project, text: str, *, dedupe: str | None = None) -> None:
    """Something worth knowing."""
    outbox.put(db, "notice", {"project": project.slug, "text": text}, dedupe)


def base_not_green(db: Db, project: Project, verdict: str, output: str) -> None:
    """Main itself is not green: nobody is blamed and nothing lands until it is."""
    text = f"main of {project.slug} is {verdict}: no work starts. {BASE_REMEDIES[verdict]}"
    body = {"project": project.slug, "text": text, "output": output[-2000:]}
    outbox.put(db, "needs_you", body, f"base:{project.id}:{verdict}:{project.baseline_tree}")


def landed(db: Db, project: Project, task: Task, commit: str, followed: str) -> None:
    """A landing, with the one command to take it and the one to undo it."""
    branch = project.main_ref.removeprefix("refs/heads/")
    path = Path(project.path)
    take = "" if not followed else operator.take_command(path, branch, branch)
    body = {
        "project": project.slug,
        "task": task.id,
        "text": f"Task {task.id} landed: {task.title}",
        "commit": commit,
        "why_not_followed": followed,
        "take": take,
        "undo": f"clawd undo {task.id}",
    }
    outbox.put(db, "notice", body, f"landed:{task.id}:{commit}")


def parked(db: Db, project: Project, task: Task) -> None:
    """A task that no timer can help."""
    text = f"Task {task.id} is parked ({task.reason}): {task.title}. {task.action}"
    body = {"project": project.slug, "task": task.id, "text": text}
    outbox.put(db, "needs_you", body, f"parked:{task.id}:{task.fence}:{task.reason}")


def goal_blocked(db: Db, project: Project, goal: Goal) -> None:
    """A goal that waits for the operator."""
    text = f"Goal {goal.id} is blocked ({goal.reason}): {goal.title}. {goal.action}"
    body = {"project": project.slug, "goal": goal.id, "text": text}
    outbox.put(db, "needs_you", body, f"blocked:{goal.id}:{goal.digest}:{goal.reason}")


def goal_done(db: Db, project: Project, goal: Goal) -> None:
    """A goal whose every task is proven."""
    body = {"project": project.slug, "goal": goal.id, "text": f"Goal done: {goal.title}"}
    outbox.put(db, "notice", body, f"goal_done:{goal.id}:{goal.changed_at.isoformat()}")


def idle_alarm(db: Db, seen: Overview, short_of: list[str]) -> None:
    """Work stands ready and nobody takes it: told once an hour, with what the facts say."""
    if seen.alarm is None:
        return
    because = "; ".join(short_of or seen.alarm.because)
    text = f"Work is ready, no claim for {seen.alarm.minutes} minutes, because {because}."
    outbox.put(db, "needs_you", {"text": text}, f"idle:{seen.at:%Y-%m-%dT%H}")


def disk_is_full(db: Db, percent: int) -> None:
    """Too little is free: nothing starts, what runs may end; told once a day."""
    text = f"Less than {percent} % of the disk is free: no run starts until there is more."
    db_day = db.execute("select to_char(clawd_now(), 'YYYY-MM-DD') as day").fetchone()
    outbox.put(db, "needs_you", {"text": text}, f"disk:{db_day['day'] if db_day else ''}")


def care_failed(db: Db, what: str, error: Exception) -> None:
    """A part of the house-keeping did not work; told once a day."""
    text = f"House-keeping ({what}) failed and is tried again in an hour: {error}"
    db_day = db.execute("select to_char(clawd_now(), 'YYYY-MM-DD') as day").fetchone()
    outbox.put(db, "needs_you", {"text": text}, f"care:{what}:{db_day['day'] if db_day else ''}")
