"""PM and planner runs: changed items become specified goals, goals become tasks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from clawd.adapters import crash
from clawd.errors import ClawdError
from clawd.model import Contract, Facts, Goal, Json, Project, Role, Run, Task
from clawd.pipeline import claim, report, spawn, standstill, workspace
from clawd.pipeline.brief import planner_prompt, pm_prompt
from clawd.pipeline.desk import Desk
from clawd.pipeline.spawn import Finished
from clawd.policy.failure import REASONS, Reason
from clawd.policy.outcome import Kind, Outcome
from clawd.policy.plan import (
    PLAN_SCHEMA,
    PM_SCHEMA,
    BadShape,
    OpenTask,
    Plan,
    PlanBounds,
    PlannedTask,
    in_order,
    lint,
    read_plan,
    read_pm,
)
from clawd.store import approvals, goals, moves, runs, tasks
from clawd.store.rows import Db

PLAN_TRIES = 2
BOUNDS = PlanBounds()


def start_pm(desk: Desk, project: Project) -> bool:
    """Hands the PM the items nobody specified yet; none means no model call at all."""
    with desk.db() as db:
        items = goals.unspecified(db, project.id)
        if not items or _pm_is_at_work(db, project):
            return False
        opened = claim.open_goal_run(desk, db, project, None, Role.PM)
        if opened is None:
            return False
    with _starting(desk, opened[1]) as run:
        with desk.db() as db:
            moves.tell(
                db, "project", project.id, "ask_pm", f"{len(items)} changed items", run=run.id,
                facts=Facts({"goals": [g.id for g in items]}),
            )  # fmt: skip
        crash.point("plan.opened")
        prompt = pm_prompt([_item(goal) for goal in items])
        _start(desk, project, run, prompt, PM_SCHEMA, files=False)
    return True


@contextmanager
def _starting(desk: Desk, run: Run) -> Iterator[Run]:
    """While its process is being started, nobody takes the run for a lost one."""
    try:
        yield run
    finally:
        desk.starting.discard(run.id)


def _pm_is_at_work(db: Db, project: Project) -> bool:
    return any(r.role == Role.PM and r.project == project.id for r in runs.live(db))


def _item(goal: Goal) -> Json:
    return {
        "ident": goal.ident,
        "title": goal.title,
        "detail": goal.body,
        "section": goal.section,
        "line": goal.line,
    }


def start_planner(desk: Desk, project: Project, goal: Goal) -> bool:
    """A planner for one specified goal; a refused plan comes back once with the reasons."""
    with desk.db() as db:
        opened = claim.open_goal_run(desk, db, project, goal.id, Role.PLANNER)
        if opened is None:
            return False
    with _starting(desk, opened[1]) as run:
        with desk.db() as db:
            if goal.state == "seen":
                moves.move_goal(db, goal.id, "plan", why="it is specified", run=run.id)
            siblings = [_sibling(t) for t in tasks.open_of_project(db, project.id)]
        hub = desk.hub(project)
        files = hub.files(hub.resolve(project.main_ref))
        reasons = list(goal.spec.get("refused", []))
        bounds = (
            f"Each takes {BOUNDS.minutes_least} to {BOUNDS.minutes_most} minutes; "
            f"at most {BOUNDS.tasks_most} tasks."
        )
        prompt = planner_prompt(goal, siblings, files, reasons, bounds)
        _start(desk, project, run, prompt, PLAN_SCHEMA, files=True)
    return True


def _sibling(task: Task) -> Json:
    return {"task": task.id, "title": task.title, "state": task.state, "scope": list(task.scope)}


def _start(
    desk: Desk, project: Project, run: Run, prompt: str, schema: dict[str, Any], *, files: bool
) -> None:
    work = workspace.workspace_path(desk, run)
    work.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        if files:
            hub = desk.hub(project)
            desk.warm(project).take(hub.resolve(project.main_ref), work)
        else:
            work.mkdir(mode=0o700)
        spawn.start(desk, project, run, prompt, work, schema=schema, read_only=True)
        crash.point("plan.started")
    except (ClawdError, OSError) as error:
        with desk.db() as db, db.transaction():
            reason, until = standstill.could_not_start(db, run, error, spawn.now(db))
            if run.goal is not None:
                goals.put_off(db, run.goal, until, reason.value)


def settle_pm(desk: Desk, project: Project, run: Run, done: Finished) -> None:
    """Specs for the goals it was handed, questions to the operator for the rest."""
    crash.point("specify.before")
    outcome = spawn.judge(done, wants_schema=True)
    answer = None
    if outcome.kind is Kind.COMPLETED and done.facts.result is not None:
        try:
            answer = read_pm(done.facts.result.output)
        except BadShape as error:
            outcome = Outcome(Kind.FAILED, Reason.BAD_OUTPUT, str(error))
    with desk.db() as db, db.transaction():
        spawn.close(db, run, done, outcome)
        waiting = {g.ident: g for g in goals.unspecified(db, project.id, limit=100)}
        if answer is None:
            _pm_failed(desk, db, project, run, outcome, list(waiting.values()))
        else:
            for spec in answer.goals:
                goal = waiting.pop(spec.ident, None)
                if goal is not None:
                    body = {"spec": spec.spec, "done_when": list(spec.done_when)}
                    goals.specify(db, goal.id, body)
                    why = f"specified by run {run.id}"
                    moves.tell(db, "goal", goal.id, "specify", why, actor="pm", run=run.id)
            for question in answer.questions:
                goal = waiting.pop(question.ident, None)
                if goal is not None:
                    _block(db, project, goal, question.text, run)
        moves.hint(db)
    crash.point("specify.after")
    workspace.clear(desk, run)


def _pm_failed(
    desk: Desk, db: Db, project: Project, run: Run, outcome: Outcome, waiting: list[Goal]
) -> None:
    """The plan in force goes on; the items wait, and after the second failure for a person."""
    until = outcome.not_before or spawn.later(db, 60)
    earlier = runs.failures_in_a_row(db, project.id, Role.PM)
    for goal in waiting:
        if outcome.kind is Kind.FAILED and earlier >= PLAN_TRIES:
            question = f"The PM could not specify this item ({outcome.detail}). Reword it?"
            _block(db, project, goal, question, run)
        else:
            reason = outcome.reason.value if outcome.reason else "failed"
            goals.put_off(db, goal.id, until, reason)


def _block(db: Db, project: Project, goal: Goal, question: str, run: Run) -> None:
    asked = approvals.ask(db, kind="question", question=question, goal=goal.id)
    blocked = moves.move_goal(
        db, goal.id, "ask", why=question, actor=run.role.value, run=run.id,
        reason=Reason.QUESTION.value, owner="operator",
        action=f"clawd answer {asked.id} TEXT, or edit the roadmap",
    )  # fmt: skip
    report.goal_blocked(db, project, blocked)


def settle_planner(desk: Desk, project: Project, goal: Goal, run: Run, done: Finished) -> None:
    """A plan without a flaw becomes tasks; a flawed one goes back once, then the goal waits."""
    crash.point("plan.before")
    outcome = spawn.judge(done, wants_schema=True)
    plan: Plan | None = None
    flaws: tuple[str, ...] = ()
    if outcome.kind is Kind.COMPLETED and done.facts.result is not None:
        try:
            plan = read_plan(done.facts.result.output)
        except BadShape as error:
            flaws = (str(error),)
            outcome = Outcome(Kind.FAILED, Reason.BAD_OUTPUT, str(error))
    with desk.db() as db, db.transaction():
        spawn.close(db, run, done, outcome)
        if goal.state != "planning":
            moves.tell(db, "goal", goal.id, "late_plan", f"the goal is {goal.state}", run=run.id)
        elif plan is not None:
            flaws = _flaws(desk, db, project, goal, plan)
            if flaws:
                _refuse(db, project, goal, flaws, run)
            elif plan.questions and not plan.tasks:
                _block(db, project, goal, "\n".join(plan.questions), run)
            else:
                _adopt(db, project, goal, plan, run, done)
        elif flaws:
            _refuse(db, project, goal, flaws, run)
        elif outcome.kind is Kind.FAILED:
            _planner_failed(db, project, goal, run, outcome)
        else:
            until = outcome.not_before or spawn.later(db, 5)
            moves.move_goal(
                db, goal.id, "yield", why=outcome.detail or "the planner was stopped", run=run.id,
                not_before=until, reason=outcome.reason.value if outcome.reason else "",
            )  # fmt: skip
        moves.hint(db)
    crash.point("plan.after")
    workspace.clear(desk, run)


def _flaws(desk: Desk, db: Db, project: Project, goal: Goal, plan: Plan) -> tuple[str, ...]:
    if not plan.tasks and not plan.questions and tasks.of_goal(db, goal.id):
        return ()  # a reworded goal whose open tasks already say it all
    known = [
        OpenTask(t.id, t.title, t.scope, tasks.contract(db, t.id).spec)
        for t in tasks.open_of_project(db, project.id)
    ]
    hub = desk.hub(project)
    files = hub.files(hub.resolve(project.main_ref))
    return lint(plan, open_tasks=known, bounds=BOUNDS, known_paths=files)


def _adopt(db: Db, project: Project, goal: Goal, plan: Plan, run: Run, done: Finished) -> None:
    ids: dict[str, int] = {}
    facts = Facts(
        {"read": done.facts.inputs_digest}, model=done.facts.model, prompt_hash=run.prompt_hash
    )
    for planned in in_order(plan):
        task = tasks.add(
            db,
            project.id,
            goal=goal.id,
            title=planned.title,
            contract=_contract(planned),
            why=f"goal {goal.id}, planned by run {run.id}",
            actor=spawn.agent_of(db, run).name,
            priority=goal.priority,
            needs=[ids[key] for key in planned.needs],
            size_minutes=planned.size_minutes,
            risk=planned.risk,
            difficulty=planned.difficulty,
            facts=facts,
        )
        ids[planned.key] = task.id
    moves.move_goal(
        db, goal.id, "planned", why=f"{len(ids)} tasks", actor=spawn.agent_of(db, run).name,
        run=run.id, facts=Facts({"tasks": list(ids.values())}, prompt_hash=run.prompt_hash),
        spec={k: v for k, v in goal.spec.items() if k != "refused"},
    )  # fmt: skip


def _contract(planned: PlannedTask) -> Contract:
    return Contract(planned.spec, planned.acceptance, planned.scope, planned.may_change)


def _refuse(db: Db, project: Project, goal: Goal, flaws: tuple[str, ...], run: Run) -> None:
    why = "; ".join(flaws)[:2000]
    facts = Facts({"flaws": list(flaws)}, policy="plan", version="1")
    if goal.plan_tries + 1 < PLAN_TRIES:
        moves.move_goal(
            db, goal.id, "refuse", why=why, run=run.id, facts=facts,
            reason=Reason.PLAN_REFUSED.value, spec={**goal.spec, "refused": list(flaws)},
        )  # fmt: skip
        return
    _give_up(db, project, goal, Reason.PLAN_REFUSED, why, run, facts)


def _planner_failed(db: Db, project: Project, goal: Goal, run: Run, outcome: Outcome) -> None:
    reason = outcome.reason or Reason.CRASHED
    why = f"{reason}: {outcome.detail}"
    if goal.plan_tries + 1 < PLAN_TRIES:
        moves.move_goal(db, goal.id, "fail", why=why, run=run.id, reason=reason.value)
    else:
        _give_up(db, project, goal, reason, why, run, Facts())


def _give_up(
    db: Db, project: Project, goal: Goal, reason: Reason, why: str, run: Run, facts: Facts
) -> None:
    blocked = moves.move_goal(
        db, goal.id, "give_up", why=why, run=run.id, facts=facts, reason=reason.value,
        owner="operator", action=REASONS[Reason.PLAN_REFUSED].remedy,
    )  # fmt: skip
    report.goal_blocked(db, project, blocked)
