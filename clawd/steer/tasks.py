"""The operator's verbs on tasks: add, edit, cancel, retry, reopen, undo."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from clawd.errors import Refused, UsageError
from clawd.model import Clause, Contract, Project, Task, TaskState
from clawd.policy.failure import Reason
from clawd.steer import words
from clawd.steer.words import OPERATOR, By, Outcome
from clawd.store import approvals, edits, landings, moves, tasks
from clawd.store.rows import Db

_ENDED = (TaskState.DONE, TaskState.CANCELLED, TaskState.ROLLED_BACK, TaskState.VERIFYING)
_PRIORITIES = range(0, 1001)


def add_task(
    db: Db,
    project: Project,
    title: str,
    spec: str = "",
    *,
    accept: Sequence[str] = (),
    scope: Sequence[str] = (),
    may_change: Sequence[str] = (),
    needs: Sequence[int] = (),
    priority: int = 100,
    mends: bool = False,
    idem_key: str | None = None,
    by: By = OPERATOR,
) -> Outcome:
    """A task of the operator's own; the same key gives the same task.

    One that `mends` may start and land while main itself is red: it is the way out.
    """
    name = words.title(title)
    contract = Contract(
        spec=words.spec(spec) or name,
        acceptance=_clauses(accept),
        scope=words.globs(tuple(scope), "scope") or ("**",),
        may_change=words.globs(tuple(may_change), "may-change"),
    )
    _check_priority(priority)
    with db.transaction():
        for need in needs:
            _check_need(db, project, need)
        task = tasks.add(
            db,
            project.id,
            title=name,
            contract=contract,
            why="the operator asked for it",
            actor="operator",
            priority=priority,
            needs=needs,
            mends=mends,
            idem_key=idem_key,
            facts=by.facts(needs=list(needs)),
        )
        moves.hint(db)
    return _about(task, "add", f"Task {task.id} is in the queue of {project.slug}: {task.title}")


def edit_task(
    db: Db,
    task: int,
    *,
    title: str | None = None,
    spec: str | None = None,
    accept: Sequence[str] | None = None,
    scope: Sequence[str] | None = None,
    may_change: Sequence[str] | None = None,
    priority: int | None = None,
    by: By = OPERATOR,
) -> Outcome:
    """A new contract version; work under the old one ends, or is judged by the new one."""
    if all(value is None for value in (title, spec, accept, scope, may_change, priority)):
        raise UsageError("Nothing to change.", "Name at least one option, for example --spec.")
    with db.transaction():
        before = _locked(db, task)
        if before.state in _ENDED:
            raise _too_late(before, "edit")
        old = tasks.contract(db, task)
        new = dataclasses.replace(
            old,
            spec=old.spec if spec is None else words.spec(spec),
            acceptance=old.acceptance if accept is None else _clauses(accept),
            scope=old.scope if scope is None else words.globs(tuple(scope), "scope"),
            may_change=old.may_change
            if may_change is None
            else words.globs(tuple(may_change), "may-change"),
        )
        _check_priority(before.priority if priority is None else priority)
        after = dataclasses.replace(
            before,
            title=before.title if title is None else words.title(title),
            priority=before.priority if priority is None else priority,
            scope=new.scope,
        )
        changed = new != old or after.title != before.title
        version = tasks.amend(db, task, new, "operator") if changed else before.contract_version
        said = _apply_edit(db, before, after, version, by)
        moves.hint(db)
    return _about(_known(db, task), "edit", said)


def _apply_edit(db: Db, before: Task, after: Task, version: int, by: By) -> str:
    """Writes the new version, through a move where work stands under the old one."""
    facts = by.facts(contract_version=version, was=before.contract_version)
    changes: dict[str, Any] = {
        "contract_version": version,
        "title": after.title,
        "scope": list(after.scope),
        "priority": after.priority,
    }
    named = f"Task {before.id} has contract version {version}"
    if version == before.contract_version:
        _adopt(db, after, version)
        moves.tell(db, "task", before.id, "edit", "the operator changed its priority",
                   actor="operator", facts=facts)  # fmt: skip
        return f"Task {before.id} has priority {after.priority} now."
    if before.candidate is not None and before.state is not TaskState.BACKLOG:
        edits.check_again(db, before.candidate)
    why = f"the operator edited the task: contract version {version}"
    if before.state in (TaskState.CLAIMED, TaskState.RUNNING):
        moves.move_task(db, before.id, "yield", why=why, actor="operator", facts=facts,
                        reason=Reason.EDITED, **changes)  # fmt: skip
        return f"{named}; the run under the old one ends and a new one starts."
    if before.state is TaskState.REVIEW and before.leased_by_run is not None:
        moves.move_task(db, before.id, "yield", why=why, actor="operator", facts=facts, **changes)
        return f"{named}; its candidate is reviewed again under it."
    if before.state is TaskState.MERGING:
        if edits.is_landing(db, before.id):
            raise Refused(
                f"Task {before.id} is landing right now.",
                f"Undo it afterwards: clawd undo {before.id}",
            )
        moves.move_task(db, before.id, "review", why=why, actor="operator", facts=facts, **changes)
        return f"{named}; its candidate is reviewed again under it before it may land."
    _adopt(db, after, version)
    moves.tell(db, "task", before.id, "edit", why, actor="operator", facts=facts)
    if before.state is TaskState.PARKED:
        return f"{named}; clawd task retry {before.id} starts it."
    return f"{named}."


def cancel_task(db: Db, task: int, *, why: str = "", by: By = OPERATOR) -> Outcome:
    """The task ends; what its agent does is thrown away."""
    with db.transaction():
        before = _locked(db, task)
        try:
            after = moves.move_task(
                db,
                task,
                "cancel",
                why=words.clean(why).strip() or "the operator cancelled it",
                actor="operator",
                facts=by.facts(),
                reason=Reason.CANCELLED,
                owner="operator",
            )
        except moves.IllegalMove:
            raise _too_late(before, "cancel") from None
        approvals.void_of_task(db, task)
        moves.hint(db)
    return _about(after, "cancel", f"Task {task} is cancelled.", f"clawd task reopen {task}")


def retry_task(db: Db, task: int, *, by: By = OPERATOR) -> Outcome:
    """A parked task starts over with fresh counters; a waiting time is cut short."""
    with db.transaction():
        before = _locked(db, task)
        if before.state is TaskState.BACKLOG and before.not_before is not None:
            edits.hurry(db, task)
            moves.tell(db, "task", task, "hurry", "the operator wants it now", actor="operator",
                       facts=by.facts(not_before=before.not_before.isoformat()))  # fmt: skip
            moves.hint(db)
            return _about(before, "retry", f"Task {task} may start at once.")
        if before.state is not TaskState.PARKED:
            raise Refused(f"Task {task} is {before.state}, not parked.", _way_on(before))
        tasks.drop_gone_needs(db, task)
        approvals.void_of_task(db, task)
        after = moves.move_task(db, task, "retry", why="the operator retries it",
                                actor="operator", facts=by.facts())  # fmt: skip
        moves.hint(db)
    return _about(after, "retry", f"Task {task} is in the queue again, with fresh tries.")


def reopen_task(db: Db, task: int, *, by: By = OPERATOR) -> Outcome:
    """A cancelled task comes back."""
    with db.transaction():
        before = _locked(db, task)
        if before.state is not TaskState.CANCELLED:
            raise Refused(f"Task {task} is {before.state}, not cancelled.", _way_on(before))
        tasks.drop_gone_needs(db, task)
        after = moves.move_task(db, task, "reopen", why="the operator reopened it",
                                actor="operator", facts=by.facts())  # fmt: skip
        moves.hint(db)
    return _about(after, "reopen", f"Task {task} is in the queue again.")


def undo(db: Db, task: int, *, by: By = OPERATOR) -> Outcome:
    """Asks for the revert of what a task landed; the merger lands it like any other change."""
    with db.transaction():
        before = _locked(db, task)
        found = edits.landed(db, task)
        if found is None:
            raise Refused(f"Nothing of task {task} stands on main.", _way_on(before))
        asked = landings.ask_undo(db, task, by.name)
        if not asked:
            raise Refused(f"Task {task} is being taken back already.", f"See: clawd why {task}")
        moves.hint(db)
    others = [other for other in asked if other != task]
    with_them = f", and first what was built on it: task {', '.join(map(str, others))}"
    return _about(
        before,
        "undo",
        f"clawd takes {found.new_main[:12]} of task {task} back{with_them if others else ''}. "
        "The revert is tested and lands like any change.",
        f"clawd why {task}",
    )


def _adopt(db: Db, task: Task, version: int) -> None:
    edits.adopt_contract(
        db, task.id, version, title=task.title, scope=task.scope, priority=task.priority
    )


def _about(task: Task, verb: str, said: str, following: str = "") -> Outcome:
    return Outcome(verb, said, "task", task.id, str(task.state), next=following)


def _known(db: Db, task: int) -> Task:
    found = tasks.by_id(db, task)
    if found is None:
        raise moves.Missing(f"There is no task {task}.", "See them: clawd task list --all")
    return found


def _locked(db: Db, task: int) -> Task:
    found = edits.lock_task(db, task)
    if found is None:
        raise moves.Missing(f"There is no task {task}.", "See them: clawd task list --all")
    return found


def _clauses(commands: Sequence[str]) -> tuple[Clause, ...]:
    found = words.items(tuple(commands), "acceptance")
    return tuple(Clause(f"A{place}", command) for place, command in enumerate(found, start=1))


def _check_need(db: Db, project: Project, need: int) -> None:
    found = _known(db, need)
    if found.project != project.id:
        raise UsageError(f"Task {need} belongs to another project.", "Needs stay in one project.")
    if found.state in (TaskState.CANCELLED, TaskState.ROLLED_BACK):
        raise Refused(f"Task {need} is {found.state} and will not land.", _way_on(found))


def _check_priority(priority: int) -> None:
    if priority not in _PRIORITIES:
        raise UsageError(f"Priority {priority} is not between 0 (first) and 1000 (last).")


def _too_late(task: Task, verb: str) -> Refused:
    if task.state is TaskState.MERGING:
        return Refused(
            f"Task {task.id} is landing right now, too late to {verb}.",
            f"Undo it afterwards: clawd undo {task.id}",
        )
    return Refused(f"Task {task.id} is {task.state}, too late to {verb}.", _way_on(task))


def _way_on(task: Task) -> str:
    """The command that helps with a task in this state."""
    return {
        TaskState.PARKED: f"Retry it: clawd task retry {task.id}",
        TaskState.CANCELLED: f"Bring it back: clawd task reopen {task.id}",
        TaskState.WAITING: "It waits for you: clawd inbox",
        TaskState.DONE: f"Take it back: clawd undo {task.id}",
        TaskState.VERIFYING: f"It has landed; take it back: clawd undo {task.id}",
        TaskState.ROLLED_BACK: "It was taken back; add a new task: clawd task add",
    }.get(task.state, f"It is under way: clawd task show {task.id}")
