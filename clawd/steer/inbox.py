"""The operator's verbs on what waits for a person: answer, approve, reject."""

from __future__ import annotations

import dataclasses

from clawd.errors import Refused
from clawd.model import Answer, Approval, Goal, GoalState, Json, Task, TaskState
from clawd.policy.failure import Reason
from clawd.steer import money, words
from clawd.steer.words import OPERATOR, By, Outcome
from clawd.store import approvals, edits, moves, tasks
from clawd.store.rows import Db

_RESUMES = {
    "": "resume_dev",
    "dev": "resume_dev",
    "review": "resume_review",
    "merge": "resume_merge",
    "proof": "resume_proof",
}


def answer(db: Db, approval: int, text: str, *, by: By = OPERATOR) -> Outcome:
    """Answers a question; what waited for it goes on with the answer in its contract."""
    with db.transaction():
        asked = _open(db, approval)
        if asked.kind not in ("question", "plan"):
            raise Refused(
                f"{approval} asks for a yes or a no ({asked.kind}).",
                f"Say clawd approve {approval} or clawd reject {approval}",
            )
        said = words.reply(text)
        approvals.close(db, approval, "answered", by=by.name, channel=by.channel, answer=said)
        outcome = _answered(db, asked, said, by)
        moves.hint(db)
    return outcome


def approve(db: Db, approval: int, *, by: By = OPERATOR) -> Outcome:
    """Says yes to the one thing that was asked."""
    with db.transaction():
        asked = _open(db, approval)
        if asked.kind == "question":
            raise Refused(
                f"{approval} is a question; a yes does not answer it.",
                f"Say clawd answer {approval} 'TEXT'",
            )
        if asked.kind == "envelope":
            money.grant_ask(db, asked)
        approvals.close(db, approval, "approved", by=by.name, channel=by.channel)
        outcome = _approved(db, asked, by)
        moves.hint(db)
    return outcome


def reject(db: Db, approval: int, *, why: str = "", by: By = OPERATOR) -> Outcome:
    """Says no; a task that waited for it is parked."""
    with db.transaction():
        asked = _open(db, approval)
        note = words.clean(why).strip()[:2000]
        approvals.close(db, approval, "rejected", by=by.name, channel=by.channel, answer=note)
        outcome = _rejected(db, asked, note, by)
        moves.hint(db)
    return outcome


def _open(db: Db, approval: int) -> Approval:
    found = approvals.by_id(db, approval)
    if found is None:
        raise moves.Missing(f"There is no question {approval}.", "See them: clawd inbox")
    if found.task is not None:
        edits.lock_task(db, found.task)
    elif found.goal is not None:
        edits.lock_goal(db, found.goal)
    found = approvals.by_id(db, approval)
    assert found is not None  # noqa: S101 - approvals are never deleted
    if found.state != "open":
        whom = f" by {found.by}" if found.by else ""
        raise Refused(f"Question {approval} is settled: {found.state}{whom}.", "See: clawd inbox")
    return found


def _answered(db: Db, asked: Approval, said: str, by: By) -> Outcome:
    facts = by.facts(approval=asked.id, question=asked.question, answer=said)
    if asked.task is not None:
        task = _task(db, asked.task)
        old = tasks.contract(db, task.id)
        body = dataclasses.replace(old, answers=(*old.answers, Answer(asked.question, said)))
        version = tasks.amend(db, task.id, body, "operator")
        why = f"the operator answered question {asked.id}: contract version {version}"
        if _may_resume(db, task):
            event = _RESUMES[task.return_to]
            after = moves.move_task(db, task.id, event, why=why, actor="operator", facts=facts,
                                    contract_version=version, front=True)  # fmt: skip
            told = f"Task {task.id} goes on with your answer."
            return Outcome("answer", told, "task", task.id, str(after.state))
        edits.adopt_contract(
            db, task.id, version, title=task.title, scope=task.scope, priority=task.priority
        )
        moves.tell(db, "task", task.id, "answer", why, actor="operator", facts=facts)
        return Outcome("answer", _kept(db, task), "task", task.id, str(task.state))
    if asked.goal is not None:
        return _answer_goal(db, asked, said, by)
    return _tell_project(db, asked, "answer", "Your answer is kept.", by)


def _answer_goal(db: Db, asked: Approval, said: str, by: By) -> Outcome:
    assert asked.goal is not None  # noqa: S101 - the caller looked
    goal = _goal(db, asked.goal)
    facts = by.facts(approval=asked.id, question=asked.question, answer=said)
    kept: Json = dict(goal.spec)
    kept["answers"] = [*kept.get("answers", []), {"question": asked.question, "answer": said}]
    why = f"the operator answered question {asked.id}"
    if goal.state is GoalState.BLOCKED and edits.still_open(db, goal=goal.id) == 0:
        after = moves.move_goal(db, goal.id, "answer", why=why, actor="operator", facts=facts,
                                spec=kept)  # fmt: skip
        told = f"Goal {goal.id} is planned with your answer."
        return Outcome("answer", told, "goal", goal.id, str(after.state))
    edits.keep_answers(db, goal.id, kept)
    moves.tell(db, "goal", goal.id, "answer", why, actor="operator", facts=facts)
    left = edits.still_open(db, goal=goal.id)
    told = f"Kept; goal {goal.id} has {left} more open question{'s' * (left != 1)}."
    return Outcome("answer", told, "goal", goal.id, str(goal.state), next="clawd inbox")


def _approved(db: Db, asked: Approval, by: By) -> Outcome:
    facts = by.facts(approval=asked.id, kind=asked.kind, subject=asked.subject)
    why = f"the operator approved {asked.id} ({asked.kind})"
    if asked.task is not None:
        task = _task(db, asked.task)
        if task.state is TaskState.PARKED:
            tasks.drop_gone_needs(db, task.id)
            after = moves.move_task(db, task.id, "retry", why=why, actor="operator", facts=facts)
        elif _may_resume(db, task):
            event = _RESUMES[task.return_to]
            after = moves.move_task(db, task.id, event, why=why, actor="operator", facts=facts)
        else:
            moves.tell(db, "task", task.id, "approve", why, actor="operator", facts=facts)
            return Outcome("approve", _kept(db, task), "task", task.id, str(task.state))
        told = f"Task {task.id} goes on."
        return Outcome("approve", told, "task", task.id, str(after.state))
    if asked.goal is not None:
        goal = _goal(db, asked.goal)
        if goal.state is GoalState.BLOCKED and edits.still_open(db, goal=goal.id) == 0:
            goal = moves.move_goal(db, goal.id, "answer", why=why, actor="operator", facts=facts)
        else:
            moves.tell(db, "goal", goal.id, "approve", why, actor="operator", facts=facts)
        return Outcome("approve", f"Goal {goal.id} goes on.", "goal", goal.id, str(goal.state))
    return _tell_project(db, asked, "approve", "Approved; clawd acts on it at its next look.", by)


def _rejected(db: Db, asked: Approval, note: str, by: By) -> Outcome:
    facts = by.facts(approval=asked.id, kind=asked.kind, subject=asked.subject, note=note)
    why = f"the operator rejected {asked.id} ({asked.kind})" + (f": {note}" if note else "")
    if asked.task is not None:
        task = _task(db, asked.task)
        if task.state is not TaskState.WAITING:
            moves.tell(db, "task", task.id, "reject", why, actor="operator", facts=facts)
            return Outcome("reject", "Rejected.", "task", task.id, str(task.state))
        after = moves.move_task(
            db, task.id, "deny", why=why, actor="operator", facts=facts, reason=Reason.DENIED,
            owner="operator",
            action=f"clawd task edit {task.id}, then clawd task retry {task.id}; "
            f"or clawd task cancel {task.id}",
        )  # fmt: skip
        approvals.void_of_task(db, task.id)
        told = f"Task {task.id} is parked."
        return Outcome("reject", told, "task", task.id, str(after.state),
                       next=f"clawd task edit {task.id}")  # fmt: skip
    if asked.goal is not None:
        moves.tell(db, "goal", asked.goal, "reject", why, actor="operator", facts=facts)
        told = f"Rejected; goal {asked.goal} stays where it is."
        return Outcome("reject", told, "goal", asked.goal, str(_goal(db, asked.goal).state))
    return _tell_project(db, asked, "reject", "Rejected; everything stays as it is.", by)


def _may_resume(db: Db, task: Task) -> bool:
    """A task goes on when it waits and nothing else is asked about it."""
    return task.state is TaskState.WAITING and edits.still_open(db, task=task.id) == 0


def _kept(db: Db, task: Task) -> str:
    left = edits.still_open(db, task=task.id)
    if left:
        return f"Kept; task {task.id} has {left} more open question{'s' * (left != 1)}."
    return f"Kept with task {task.id}, which is {task.state}."


def _tell_project(db: Db, asked: Approval, verb: str, said: str, by: By) -> Outcome:
    if asked.project is not None:
        why = f"the operator settled {asked.id} ({asked.kind}): {verb}"
        facts = by.facts(approval=asked.id, kind=asked.kind, subject=asked.subject)
        moves.tell(db, "project", asked.project, verb, why, actor="operator", facts=facts)
    return Outcome(verb, said, "project", asked.project)


def _task(db: Db, task: int) -> Task:
    found = tasks.by_id(db, task)
    assert found is not None  # noqa: S101 - a foreign key holds it
    return found


def _goal(db: Db, goal: int) -> Goal:
    found = edits.lock_goal(db, goal)
    assert found is not None  # noqa: S101 - a foreign key holds it
    return found
