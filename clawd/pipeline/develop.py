"""A developer's run: laid, briefed and started; when it ended, its work taken out and judged."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from clawd.adapters import crash
from clawd.adapters.git import merge
from clawd.adapters.git.refusal import CandidateRefused
from clawd.model import Candidate, Facts, Json, Project, Run, Task
from clawd.pipeline import brief, ending, report, spawn, workspace
from clawd.pipeline.brief import Context
from clawd.pipeline.claim import Taken
from clawd.pipeline.desk import Desk
from clawd.pipeline.spawn import Finished
from clawd.policy.failure import Reason
from clawd.policy.outcome import Kind, Outcome
from clawd.policy.plan import BadShape, Outbox, read_outbox
from clawd.store import approvals, moves, runs, tasks
from clawd.store.rows import Db

ROADMAP = "ROADMAP.md"


def start(desk: Desk, taken: Taken) -> None:
    """From claimed to running: the clone, the files, the prompt, the process."""
    project, task, run = taken.project, taken.task, taken.run
    origin = workspace.choose_origin(desk, project, task)
    with desk.db() as db:
        contract = tasks.contract(db, task.id, run.contract_version)
        context = _context(db, task)
    identity = workspace.identity_of(taken.agent)
    crash.point("checkout.before")
    work = workspace.lay(desk, project, run, origin, identity)
    crash.point("checkout.after")
    workspace.write_files(
        work,
        {
            "current-task.json": brief.task_file(task, contract, "dev", origin.start, run.limits),
            "context-snapshot.json": brief.context_file(contract, context),
        },
    )
    prompt = brief.dev_prompt(task, contract, context, resumed=run.resumes is not None)
    spawn.start(desk, project, run, prompt, work, base=origin.base, kept=origin.kept or origin.base)


def _context(db: Db, task: Task) -> Context:
    """What the next developer must know of the runs before it."""
    came = tasks.arrival(db, task.id)
    verdicts = runs.verdicts(db, task.id)
    last = verdicts[-1] if verdicts else None
    current = last is not None and last.candidate == task.candidate and last.answer == "revise"
    failures: list[Json] = []
    conflict: Json | None = None
    if came is not None and came.event == "check_red":
        detail = "\n\n".join(f"$ {r['run']}\n{r['output']}" for r in came.inputs.get("red", []))
        failures.append({"run": came.run, "reason": "check_red", "detail": detail})
    elif came is not None and came.event in ("fail", "lose"):
        failures.append({"run": came.run, "reason": came.reason, "detail": came.why})
    elif came is not None and came.event == "bounce" and came.reason != Reason.LOST:
        conflict = came.inputs
    return Context(
        round=task.round,
        findings=tuple(last.findings) if last is not None and current else (),
        failures=tuple(failures),
        conflict=conflict,
    )


def settle(desk: Desk, project: Project, task: Task, run: Run, done: Finished) -> None:
    """Takes the work out, judges the run and moves the task; safe to repeat after a crash."""
    crash.point("result.before")
    work = workspace.workspace_path(desk, run)
    outbox, complaint = _read_outbox(work)
    candidate: Candidate | None = None
    refused = ""
    known = _has_its_beginning(desk, project, run)
    if known and done.ended_by_itself and not outbox.questions:  # half-done work waits with them
        try:
            candidate = _take_out(desk, project, task, run, outbox)
            refused = _unfit(run, candidate)
        except CandidateRefused as error:
            refused = str(error)
    if candidate is None:
        desk.hub(project).salvage(work, run.id, run.base_oid or None)
    crash.point("snapshot.after")
    outcome = spawn.judge(
        done,
        has_candidate=candidate is not None,
        asks=bool(outbox.questions),
        capped_by_envelope=bool(run.limits.get("capped")),
    )
    if not known:
        why = "the hub does not have the commit it began at any more"
        outcome = Outcome(Kind.LOST, Reason.LOST, why)
    elif refused and outcome.kind in (Kind.COMPLETED, Kind.FAILED):
        outcome = Outcome(Kind.FAILED, Reason.CANDIDATE_REFUSED, refused)
    elif complaint and outcome.reason is Reason.NO_CANDIDATE:
        outcome = Outcome(Kind.FAILED, Reason.BAD_OUTPUT, complaint)
    with desk.db() as db, db.transaction():
        spawn.close(db, run, done, outcome)
        _move(desk, db, project, task, run, done, outcome, candidate, outbox)
        moves.hint(db)
    crash.point("settle.after")
    workspace.clear(desk, run)


def _has_its_beginning(desk: Desk, project: Project, run: Run) -> bool:
    """False after the hub was lost: what the run made cannot be told from what it was given."""
    hub = desk.hub(project)
    began = {run.base_oid, str(run.limits.get("kept") or run.base_oid)} - {""}
    return all(hub.has(commit) for commit in began)


def _read_outbox(work: Path) -> tuple[Outbox, str]:
    raw, complaint = workspace.read_outbox(work)
    try:
        return read_outbox(raw), complaint
    except BadShape as error:
        return read_outbox({}), str(error)


def _take_out(
    desk: Desk, project: Project, task: Task, run: Run, outbox: Outbox
) -> Candidate | None:
    """The run's work as a candidate in the hub; None when there is nothing and no such claim."""
    hub = desk.hub(project)
    with desk.db() as db:
        agent = spawn.agent_of(db, run)
    found = hub.candidate_of(run.id, run.base_oid)
    if found is None:
        found = hub.import_candidate(
            workspace.workspace_path(desk, run),
            run.id,
            run.base_oid,
            workspace.identity_of(agent),
            {"Clawd-Task": str(task.id), "Clawd-Run": str(run.id), "Clawd-Agent": agent.name},
            start=str(run.limits.get("kept") or run.base_oid),
        )
    crash.point("snapshot.mid")
    nothing_new = found.oid == run.limits.get("kept", run.base_oid)
    if nothing_new and outbox.no_change is None and not outbox.answered:
        return None
    changes = merge.changed(hub, found.base, found.oid)
    stat: Json = {
        "files": [asdict(change) for change in changes[:200]],
        "lines": sum(change.added + change.deleted for change in changes),
        "commits": found.commits,
        "claims": [asdict(claim) for claim in outbox.claims],
        "answered": [asdict(item) for item in outbox.answered],
        "no_change": asdict(outbox.no_change) if outbox.no_change else None,
    }
    with desk.db() as db:
        return runs.add_candidate(
            db,
            task=task.id,
            run=run.id,
            host=desk.host,
            ref=f"refs/clawd/run/{run.id}",
            oid=found.oid,
            base_oid=found.base,
            tree=found.tree,
            patch_digest=merge.patch_digest(hub, found.base, found.oid),
            no_change=not changes,
            stat=stat,
        )


def _unfit(run: Run, candidate: Candidate | None) -> str:
    """What no candidate may do, whatever QA would say of it."""
    if candidate is None:
        return ""
    touched = {str(change["path"]) for change in candidate.stat["files"]}
    if ROADMAP in touched:
        return f"{ROADMAP} is the operator's: no agent may edit it."
    allowed = int(run.limits.get("diff_lines", 0))
    if allowed and candidate.stat["lines"] > allowed:
        return (
            f"The candidate changes {candidate.stat['lines']} lines; "
            f"tier {run.tier} may change {allowed}."
        )
    return ""


def _move(
    desk: Desk,
    db: Db,
    project: Project,
    task: Task,
    run: Run,
    done: Finished,
    outcome: Outcome,
    candidate: Candidate | None,
    outbox: Outbox,
) -> None:
    facts = Facts(
        {"inputs_digest": done.facts.inputs_digest, "outcome": outcome.detail},
        model=done.facts.model,
        prompt_hash=run.prompt_hash,
    )
    match outcome.kind:
        case Kind.COMPLETED:
            assert candidate is not None  # noqa: S101 - judge() asked for one
            why = f"run {run.id} left candidate {candidate.oid[:12]}"
            moves.move_task(
                db, task.id, "finish", why=why, actor=_actor(db, run), fence=run.fence,
                run=run.id, facts=facts, candidate=candidate.id,
            )  # fmt: skip
            if task.contract_version != run.contract_version:
                moves.tell(
                    db, "task", task.id, "edited_meanwhile", "the contract changed", run=run.id
                )
        case Kind.ASK:
            _ask(db, project, task, run, outbox, facts)
        case Kind.FAILED:
            reason = outcome.reason or Reason.CRASHED
            ending.charge(
                desk, db, project, task, "fail", reason, f"{reason}: {outcome.detail}",
                fence=run.fence, run=run.id, facts=facts,
            )  # fmt: skip
        case Kind.LOST if ending.is_lost_too_often(db, run):
            story = f"{ending.LOST_IN_A_ROW} runs in a row were lost, the last: {outcome.detail}"
            ending.park(db, project, task, Reason.LOST, story, fence=run.fence, run=run.id,
                        facts=facts)  # fmt: skip
        case Kind.HOLD:
            _hold_for_money(db, project, task, run, outcome, facts)
        case _:
            reason = outcome.reason or Reason.LOST
            ending.put_back(
                db, task, reason, f"{reason}: {outcome.detail}", fence=run.fence, run=run.id,
                not_before=outcome.not_before, facts=facts,
                event="lose" if outcome.kind is Kind.LOST else "yield",
            )  # fmt: skip


def _actor(db: Db, run: Run) -> str:
    return spawn.agent_of(db, run).name


def _ask(db: Db, project: Project, task: Task, run: Run, outbox: Outbox, facts: Facts) -> None:
    """The first question waits for a person; the rest goes with it, so that nothing is lost."""
    first = outbox.questions[0]
    text = "\n".join(question.text for question in outbox.questions)
    approval = approvals.ask(
        db, kind="question", question=text, task=task.id, options=first.options
    )
    moves.move_task(
        db, task.id, "ask", why=f"run {run.id} asks: {text}", actor=_actor(db, run),
        fence=run.fence, run=run.id, facts=facts, return_to="dev",
        reason=Reason.QUESTION.value, owner="operator",
        action=f"clawd answer {approval.id} TEXT",
    )  # fmt: skip
    report.needs_you(
        db, project, f"Task {task.id} asks: {text} (clawd answer {approval.id} TEXT)",
        dedupe=f"ask:{approval.id}",
    )  # fmt: skip


def _hold_for_money(
    db: Db, project: Project, task: Task, run: Run, outcome: Outcome, facts: Facts
) -> None:
    question = f"Task {task.id} used up its envelope in mid-work. Raise it and go on?"
    how = f"clawd budget set --task {task.id} USD"
    approval = approvals.ask(db, kind="envelope", question=question, task=task.id)
    moves.move_task(
        db, task.id, "hold", why=outcome.detail, fence=run.fence, run=run.id, facts=facts,
        return_to="dev", reason=Reason.ENVELOPE_EMPTY.value, owner="operator",
        action=how,
    )  # fmt: skip
    report.needs_you(db, project, f"{question} ({how})", dedupe=f"envelope:{approval.id}")
