"""A reviewer's run: a read-only tree, the daemon's facts, a verdict by schema."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta

from clawd.adapters import crash
from clawd.errors import Refused
from clawd.model import Candidate, Contract, Facts, Json, Project, Run, Task, VerdictRow
from clawd.pipeline import brief, ending, spawn, workspace
from clawd.pipeline.brief import Context
from clawd.pipeline.claim import Taken
from clawd.pipeline.desk import Desk
from clawd.pipeline.spawn import Finished
from clawd.policy.failure import Reason
from clawd.policy.outcome import Kind, Outcome
from clawd.policy.plan import QA_SCHEMA, BadShape, Verdict, read_verdict
from clawd.policy.scope import inside
from clawd.store import moves, runs, tasks
from clawd.store.rows import Db

PREFERENCE = timedelta(minutes=10)
# A reviewer that fails is not the developer's try; this many in a row are enough to ask a person.
QA_FAILURES = 3


def reuse(desk: Desk) -> int:
    """Passes that still hold (same contract, same effective patch) need no second reading."""
    reused = 0
    with desk.db() as db:
        for task in tasks.reviewable(db):
            candidate = runs.candidate(db, task.candidate or 0)
            assert candidate is not None  # noqa: S101 - reviewable() joined it
            held = runs.passed(db, task.id, task.contract_version, candidate.patch_digest)
            if held is not None and not candidate.no_change:
                with db.transaction():
                    _pass(db, task, candidate, held, f"verdict {held.id} holds: same patch", None)
                    moves.hint(db)
                reused += 1
    return reused


def start(desk: Desk, taken: Taken) -> None:
    """Lays the candidate's tree read-only and starts the reviewer on it."""
    project, task, run = taken.project, taken.task, taken.run
    with desk.db() as db:
        contract = tasks.contract(db, task.id, run.contract_version)
        candidate = runs.candidate(db, task.candidate or 0)
        before = runs.verdicts(db, task.id)
    assert candidate is not None  # noqa: S101 - reviewable() joined it
    if not desk.hub(project).has(candidate.oid):
        ending.candidate_lost(desk, project, task)
        raise Refused(f"Task {task.id} goes back: the hub does not have its candidate any more.")
    crash.point("review.before")
    work = workspace.lay_candidate(desk, project, run, candidate)
    crash.point("review.after")
    context = Context(
        round=task.round,
        findings=tuple(before[-1].findings) if before else (),
        facts=_machine_facts(candidate, contract),
    )
    workspace.write_files(
        work,
        {
            "current-task.json": brief.task_file(task, contract, "qa", candidate.oid, run.limits),
            "context-snapshot.json": brief.context_file(contract, context),
        },
    )
    prompt = brief.qa_prompt(task, contract, candidate, context)
    spawn.start(
        desk, project, run, prompt, work, base=candidate.base_oid,
        schema=QA_SCHEMA, read_only=True,
    )  # fmt: skip


def _machine_facts(candidate: Candidate, contract: Contract) -> Json:
    allowed = [*contract.scope, *contract.may_change]
    touched = [str(change["path"]) for change in candidate.stat.get("files", [])]
    return {
        "candidate": candidate.oid,
        "tree": candidate.tree,
        "base": candidate.base_oid,
        "no_change": candidate.no_change,
        "diff_stat": candidate.stat.get("files", []),
        "outside_the_scope": [p for p in touched if contract.scope and not inside(p, allowed)],
        "check": candidate.checks,
        "claims_of_the_developer_unproven": candidate.stat.get("claims", []),
        "findings_answered": candidate.stat.get("answered", []),
    }


def settle(desk: Desk, project: Project, task: Task, run: Run, done: Finished) -> None:
    """Stores the verdict and moves the task; a verdict on an old contract counts for nothing."""
    crash.point("verdict.before")
    outcome = spawn.judge(done, wants_schema=True)
    verdict: Verdict | None = None
    if outcome.kind is Kind.COMPLETED and done.facts.result is not None:
        try:
            verdict = read_verdict(done.facts.result.output)
        except BadShape as error:
            outcome = Outcome(Kind.FAILED, Reason.BAD_OUTPUT, str(error))
    with desk.db() as db, db.transaction():
        spawn.close(db, run, done, outcome)
        if verdict is not None:
            _judge(desk, db, project, task, run, done, verdict)
        else:
            _fail(db, project, task, run, outcome)
        moves.hint(db)
    crash.point("verdict.after")
    workspace.clear(desk, run)


def _judge(
    desk: Desk,
    db: Db,
    project: Project,
    task: Task,
    run: Run,
    done: Finished,
    verdict: Verdict,
) -> None:
    candidate = runs.candidate(db, task.candidate or 0)
    assert candidate is not None  # noqa: S101 - the fence below refuses if it changed
    if task.contract_version != run.contract_version:
        ending.put_back(
            db, task, Reason.EDITED, "the contract changed under review", fence=run.fence,
            run=run.id,
        )  # fmt: skip
        return
    row = runs.add_verdict(
        db,
        task=task.id,
        candidate=candidate.id,
        run=run.id,
        contract_version=run.contract_version,
        answer=verdict.answer,
        summary=verdict.summary,
        findings=[asdict(finding) for finding in verdict.findings],
    )
    facts = Facts(
        {"verdict": row.id, "candidate": candidate.oid, "read": done.facts.inputs_digest},
        policy="review",
        version="1",
        model=done.facts.model,
        prompt_hash=run.prompt_hash,
    )
    if verdict.answer == "pass":
        _pass(db, task, candidate, row, verdict.summary, run, facts)
    elif task.round >= desk.config.review.rounds:
        story = f"review {task.round + 1} still asks for changes: {verdict.summary}"
        ending.park(
            db, project, task, Reason.REVIEW_ROUNDS, story, fence=run.fence, run=run.id,
            facts=facts,
        )  # fmt: skip
    else:
        _revise(db, task, candidate, run, verdict, facts)


def _pass(
    db: Db,
    task: Task,
    candidate: Candidate,
    verdict: VerdictRow,
    why: str,
    run: Run | None,
    facts: Facts | None = None,
) -> None:
    moves.move_task(
        db,
        task.id,
        "no_change" if candidate.no_change else "pass",
        why=why or "the contract is met",
        actor=spawn.agent_of(db, run).name if run else "review",
        fence=run.fence if run else task.fence,
        run=run.id if run else verdict.run,
        facts=facts or Facts({"verdict": verdict.id, "candidate": candidate.oid}),
    )


def _revise(
    db: Db, task: Task, candidate: Candidate, run: Run, verdict: Verdict, facts: Facts
) -> None:
    author = runs.by_id(db, candidate.run)
    moves.move_task(
        db,
        task.id,
        "revise",
        why=verdict.summary or f"{len(verdict.findings)} findings",
        actor=spawn.agent_of(db, run).name,
        fence=run.fence,
        run=run.id,
        facts=facts,
        reason=Reason.REVISE.value,
        prefer_agent=author.agent if author else None,
        prefer_until=spawn.now(db) + PREFERENCE,
    )


def _fail(db: Db, project: Project, task: Task, run: Run, outcome: Outcome) -> None:
    """The review is queued again; three failures on one candidate go to a person."""
    reason = outcome.reason or Reason.CRASHED
    why = f"{reason}: {outcome.detail}"
    candidate = runs.candidate(db, task.candidate or 0)
    failed = [
        r
        for r in runs.of_task(db, task.id)
        if r.role == "qa" and r.state == "failed" and candidate and r.id > candidate.run
    ]
    if outcome.kind is Kind.FAILED and len(failed) >= QA_FAILURES:
        ending.park(db, project, task, reason, f"{QA_FAILURES} reviews failed, the last: {why}",
                    fence=run.fence, run=run.id)  # fmt: skip
        return
    if outcome.kind is Kind.LOST and ending.is_lost_too_often(db, run):
        story = f"{ending.LOST_IN_A_ROW} reviews in a row were lost, the last: {outcome.detail}"
        ending.park(db, project, task, Reason.LOST, story, fence=run.fence, run=run.id)
        return
    event = {Kind.LOST: "lose", Kind.FAILED: "fail"}.get(outcome.kind, "yield")
    ending.put_back(
        db, task, reason, why, fence=run.fence, run=run.id, event=event,
        not_before=outcome.not_before,
    )  # fmt: skip
