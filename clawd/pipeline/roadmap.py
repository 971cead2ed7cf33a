"""Reads ROADMAP.md into goals; a broken file changes nothing and is told once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from clawd.adapters import crash
from clawd.adapters.git import operator
from clawd.errors import ClawdError
from clawd.model import Goal, Project
from clawd.pipeline import report
from clawd.pipeline.desk import Desk, branch_of
from clawd.policy import roadmap
from clawd.policy.failure import Reason
from clawd.policy.roadmap import Changes, Item, KnownGoal, Match, RoadmapBroken
from clawd.store import approvals, goals, moves, projects, tasks
from clawd.store.rows import Db

ROADMAP = "ROADMAP.md"
PRIORITY_STEP = 10


@dataclass(frozen=True, slots=True)
class Reading:
    """What one look at the file changed."""

    changed: int = 0
    problem: str = ""


def read(desk: Desk, project: Project, *, again: bool = False) -> Reading:
    """One look: unchanged text is no work at all, broken text keeps the last good plan."""
    try:
        found = operator.read_file(Path(project.path), branch_of(project), ROADMAP)
    except ClawdError as error:
        return _broken(desk, project, error.message)
    if found is None:
        return _broken(desk, project, f"There is no {ROADMAP} in {project.path}.")
    digest = hashlib.sha256(found.data).hexdigest()
    confirmed = _confirmed(desk, project)
    if digest == project.roadmap_digest and not again and not confirmed:
        return Reading()
    try:
        text = roadmap.decode(found.data)
        parsed = roadmap.parse(text)
    except RoadmapBroken as error:
        return _broken(desk, project, error.message)
    return _apply(desk, project, parsed, digest, confirmed)


def _confirmed(desk: Desk, project: Project) -> tuple[str, ...]:
    """Vanished goals whose withdrawal the operator agreed to; each yes counts once."""
    idents: list[str] = []
    with desk.db() as db, db.transaction():
        for approval in approvals.agreed_to(db, project.id):
            why = f"the operator agreed ({approval.id})"
            line = moves.tell(db, "project", project.id, "confirm_withdrawal", why)
            if approvals.use(db, approval.id, line):
                idents += approval.subject.get("idents", [])
    return tuple(idents)


def _apply(
    desk: Desk,
    project: Project,
    parsed: roadmap.Roadmap,
    digest: str,
    confirmed: tuple[str, ...],
) -> Reading:
    crash.point("roadmap.before")
    with desk.db() as db, db.transaction():
        stored = goals.of_project(db, project.id)
        by_ident = {goal.ident: goal for goal in stored}
        changes = roadmap.reconcile([_known(g) for g in stored], parsed.items, confirmed=confirmed)
        _rename(db, changes, by_ident)
        _add(db, project, changes)
        _reword(db, changes, by_ident)
        _place(db, changes, by_ident)
        _ticks(db, changes, by_ident)
        _withdraw(db, project, changes, by_ident)
        problem = _held(db, project, changes) or "; ".join(parsed.problems)
        if problem and problem != project.roadmap_problem:
            report.notice(db, project, f"{ROADMAP}: {problem}", dedupe=None)
        projects.note(db, project.id, roadmap_digest=digest, roadmap_problem=problem)
        if not changes.empty:
            moves.hint(db)
    crash.point("roadmap.after")
    size = len(changes.added) + len(changes.changed) + len(changes.vanished)
    return Reading(size + len(changes.ticked_by_operator) + len(changes.unticked), problem)


def _broken(desk: Desk, project: Project, problem: str) -> Reading:
    if problem != project.roadmap_problem:
        with desk.db() as db, db.transaction():
            projects.note(db, project.id, roadmap_problem=problem, roadmap_digest="")
            text = f"{problem} The last good plan stays in force."
            report.needs_you(db, project, text, dedupe=f"roadmap:{project.id}:{problem}")
    return Reading(problem=problem)


def _known(goal: Goal) -> KnownGoal:
    return KnownGoal(
        ident=goal.ident,
        title=goal.title,
        body=goal.body,
        line=goal.line,
        state=goal.state,
        done=goal.ticked,
        section=goal.section,
        priority=goal.priority // PRIORITY_STEP,
    )


def _digest(item: Item) -> str:
    return hashlib.sha256(f"{item.title}\0{item.body}".encode()).hexdigest()


def _rename(db: Db, changes: Changes, by_ident: dict[str, Goal]) -> None:
    for rename in changes.renamed:
        goal = by_ident.pop(rename.old)
        goals.rename(db, goal.id, rename.new)
        by_ident[rename.new] = goal


def _add(db: Db, project: Project, changes: Changes) -> None:
    for new in changes.added:
        goals.add(
            db,
            project.id,
            ident=new.ident,
            title=new.item.title,
            body=new.item.body,
            section=new.item.section_name,
            digest=_digest(new.item),
            line=new.item.line,
            priority=new.item.order * PRIORITY_STEP,
            why=f"{ROADMAP} line {new.item.line}",
            actor="roadmap",
        )


def _reword(db: Db, changes: Changes, by_ident: dict[str, Goal]) -> None:
    """A goal said differently is specified and planned again; work under way goes on."""
    for match in changes.changed:
        goal = by_ident[match.ident]
        why = f"reworded at {ROADMAP} line {match.item.line}"
        item = match.item
        goals.reword(db, goal.id, title=item.title, body=item.body, digest=_digest(item))
        if goal.state in ("planning", "blocked", "planned"):
            moves.move_goal(db, goal.id, "edit", why=why, actor="roadmap")
        else:
            moves.tell(db, "goal", goal.id, "reword", why, actor="roadmap")


def _place(db: Db, changes: Changes, by_ident: dict[str, Goal]) -> None:
    for match in (*changes.moved, *changes.changed, *changes.reappeared):
        goals.place(
            db,
            by_ident[match.ident].id,
            line=match.item.line,
            priority=match.item.order * PRIORITY_STEP,
            section=match.item.section_name,
        )


def _ticks(db: Db, changes: Changes, by_ident: dict[str, Goal]) -> None:
    for match in changes.ticked_by_operator:
        goal = by_ident[match.ident]
        why = f"ticked by the operator at {ROADMAP} line {match.item.line}"
        moves.move_goal(db, goal.id, "finish", why=why, actor="operator", done_by="operator")
        _drop_open_tasks(db, goal, "its goal was ticked by the operator")
        goals.mark_ticked(db, goal.id, True)
    for match in changes.settled:
        goals.mark_ticked(db, by_ident[match.ident].id, True)
    for match in changes.unticked:
        _reopen(db, by_ident[match.ident], match)
    for match in changes.reappeared:
        why = f"back at {ROADMAP} line {match.item.line}"
        moves.move_goal(db, by_ident[match.ident].id, "reappear", why=why, actor="roadmap", spec={})


def _reopen(db: Db, goal: Goal, match: Match) -> None:
    goals.mark_ticked(db, goal.id, False)
    if goal.state == "done":
        why = f"unticked by the operator at {ROADMAP} line {match.item.line}"
        moves.move_goal(db, goal.id, "reopen", why=why, actor="operator", spec={}, done_by="")


def _withdraw(db: Db, project: Project, changes: Changes, by_ident: dict[str, Goal]) -> None:
    for ident in changes.vanished:
        goal = by_ident[ident]
        moves.move_goal(
            db, goal.id, "withdraw", why=f"taken out of {ROADMAP}", actor="operator",
            reason=Reason.WITHDRAWN.value,
        )  # fmt: skip
        _drop_open_tasks(db, goal, "its goal was withdrawn")
        report.notice(db, project, f"Goal withdrawn: {goal.title}")


def _drop_open_tasks(db: Db, goal: Goal, why: str) -> None:
    """Open work of a goal that is gone ends; a landing that has begun is finished first."""
    for task in tasks.of_goal(db, goal.id):
        if task.state in ("done", "cancelled", "rolled_back", "verifying"):
            continue
        try:
            with db.transaction():
                moves.move_task(db, task.id, "cancel", why=why, reason=Reason.WITHDRAWN.value)
                approvals.void_of_task(db, task.id)
        except moves.IllegalMove as error:
            moves.tell(db, "task", task.id, "landing_without_goal", str(error))


def _held(db: Db, project: Project, changes: Changes) -> str:
    """Many goals gone at once look like an accident: nothing is withdrawn without a tap."""
    if changes.held is None:
        return ""
    asked = approvals.ask(
        db,
        kind="roadmap",
        question=changes.held.sentence,
        project=project.id,
        subject={"idents": list(changes.held.idents)},
    )
    text = f"{changes.held.sentence} (clawd approve {asked.id}, or put them back)"
    report.needs_you(db, project, text, dedupe=f"vanished:{asked.id}")
    return changes.held.sentence
