"""After main moved: the row says landed, the operator's repository hears of it."""

from __future__ import annotations

from pathlib import Path

from clawd.adapters import crash
from clawd.adapters.git import operator
from clawd.errors import ClawdError
from clawd.model import Facts, Landing, LandingRow, Project, Task
from clawd.pipeline import report
from clawd.pipeline.desk import Desk, branch_of
from clawd.policy.failure import Reason
from clawd.store import goals, landings, moves, projects, tasks
from clawd.store.rows import Db

EVENTS = {"land": "land", "revert": "revert"}


def after_landing(desk: Desk, project: Project, intent: LandingRow) -> None:
    """Marks the landing, moves its task, keeps the baseline and shows it to the operator."""
    not_followed = follow(desk, project, intent.new_main)
    crash.point("land.after")
    with desk.db() as db, db.transaction():
        task = tasks.by_id(db, intent.task)
        assert task is not None  # noqa: S101 - a landing's task is never deleted
        landings.settle(db, intent.id, "landed")
        projects.note(
            db, project.id, baseline_tree=intent.tree, baseline_verdict="green", baseline_log=""
        )
        facts = Facts({"landing": intent.id, "main": intent.new_main, "tree": intent.tree})
        why = f"main is {intent.new_main[:12]}, tree {intent.tree[:12]} tested green"
        event = EVENTS.get(intent.kind)
        if event is None:
            moves.tell(db, "task", task.id, intent.kind, why, actor="train", facts=facts)
        else:
            moves.move_task(db, task.id, event, why=why, actor="train", facts=facts)
            _tell(db, project, task, intent, not_followed)
        if event == "revert":
            _reopen_goal(db, task)
        moves.hint(db)


def _reopen_goal(db: Db, task: Task) -> None:
    """A goal that lost its proof is not done any more; what follows is the operator's to say."""
    goal = goals.by_id(db, task.goal) if task.goal else None
    if goal is None or goal.state not in ("done", "planned"):
        return
    why = f"task {task.id} of it was taken back out of main"
    if goal.state == "done":
        moves.move_goal(
            db, goal.id, "redo", why=why, actor="train", reason=Reason.REVERTED.value,
            owner="operator", action=f"edit it in ROADMAP.md, or clawd goal reopen {goal.id}",
            done_by="",
        )  # fmt: skip
    else:
        moves.tell(db, "goal", goal.id, "task_reverted", why, actor="train")


def _tell(db: Db, project: Project, task: Task, intent: LandingRow, not_followed: str) -> None:
    if intent.kind == "land":
        report.landed(db, project, task, intent.new_main, not_followed)
    else:
        text = f"Task {task.id} was taken back out of main: {task.title}"
        report.notice(db, project, text, dedupe=f"reverted:{intent.id}")


def follow(desk: Desk, project: Project, commit: str) -> str:
    """`show`, with the reason kept where `clawd status` finds it until it is gone."""
    why = show(desk, project, commit)
    told = why if project.landing is Landing.FOLLOW else ""
    if told != project.not_followed:
        with desk.db() as db:
            projects.note(db, project.id, not_followed=told)
    return why


def follow_again(desk: Desk, project: Project) -> None:
    """What was in the way of following may be gone: tried again now and then."""
    if project.not_followed:
        follow(desk, project, desk.hub(project).resolve(project.main_ref))


def show(desk: Desk, project: Project, commit: str) -> str:
    """Updates clawd's branch in the operator's repository; why it was not followed, or nothing."""
    try:
        followed = operator.follow(
            Path(project.path),
            desk.hub(project),
            branch_of(project),
            commit,
            ff=project.landing is Landing.FOLLOW,
        )
    except ClawdError as error:
        return error.message
    return "" if followed.moved else followed.why
