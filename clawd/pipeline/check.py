"""The daemon's own check: the contract's acceptance commands on a clean tree, before QA."""

from __future__ import annotations

import hashlib
from pathlib import Path

from clawd.adapters import crash
from clawd.adapters.git import tree
from clawd.model import Candidate, Clause, Contract, Facts, Json, Project, Task
from clawd.pipeline import ending
from clawd.pipeline.brief import cut
from clawd.pipeline.desk import Desk
from clawd.pipeline.layer import Layer, SetupFailed, ensure, run_in_tree
from clawd.pipeline.testing import Stopped
from clawd.policy.failure import Reason
from clawd.running.records import Why
from clawd.store import evidence, landings, moves, runs, tasks
from clawd.store.landings import TestVerdict
from clawd.store.rows import Db

STORED_OUTPUT_CHARS = 8_000


def due(desk: Desk) -> list[Task]:
    """Tasks in review whose candidate nobody has checked yet."""
    with desk.db() as db:
        return tasks.unchecked(db)


def check(desk: Desk, project: Project, task: Task) -> None:
    """Runs every clause; green lets QA look, red goes back to the developer with the output."""
    with desk.db() as db:
        candidate = runs.candidate(db, task.candidate or 0)
        contract = tasks.contract(db, task.id)
    assert candidate is not None  # noqa: S101 - due() saw it
    if not desk.hub(project).has(candidate.oid):
        ending.candidate_lost(desk, project, task)
        return
    crash.point("check.before")
    layer = ensure(desk, project, candidate.oid)
    if isinstance(layer, SetupFailed):
        _settle(desk, project, task, candidate, [_setup_clause(layer)])
        return
    try:
        results = run_clauses(desk, project, candidate, contract, layer)
    except Stopped:
        return
    crash.point("check.mid")
    _settle(desk, project, task, candidate, results)
    crash.point("check.after")


def clauses_of(project: Project, contract: Contract) -> tuple[Clause, ...]:
    """The contract's acceptance; without one the project's tests stand in."""
    if contract.acceptance:
        return contract.acceptance
    return (Clause("tests", project.test_cmd, "the project's own tests"),)


def run_clauses(
    desk: Desk, project: Project, candidate: Candidate, contract: Contract, layer: Layer
) -> list[Json]:
    """Every clause on one clean tree from the hub, each remembered for this very tree."""
    work = desk.scratch(f"check-{candidate.id}")
    tree.remove(work)
    desk.warm(project).take(candidate.oid, work)
    try:
        return [
            _run_clause(desk, project, candidate, clause, layer, work)
            for clause in clauses_of(project, contract)
        ]
    finally:
        tree.remove(work)


def _run_clause(
    desk: Desk, project: Project, candidate: Candidate, clause: Clause, layer: Layer, work: Path
) -> Json:
    digest = hashlib.sha256(clause.run.encode()).hexdigest()
    with desk.db() as db:
        known = landings.tested(db, project.id, candidate.tree, digest, layer.digest)
    if known is None:
        known = _look(desk, project, candidate, clause, layer, work)
        with desk.db() as db:
            landings.remember_tests(db, project.id, candidate.tree, digest, layer.digest, known)
    return {
        "id": clause.id,
        "run": clause.run,
        "rc": known.rc,
        "ok": known.verdict == "green",
        "wall_ms": known.wall_ms,
        "output": known.output,
    }


def _look(
    desk: Desk, project: Project, candidate: Candidate, clause: Clause, layer: Layer, work: Path
) -> TestVerdict:
    marker = f"check-{candidate.id}-{clause.id}"
    done = run_in_tree(
        desk,
        project,
        work,
        clause.run,
        marker,
        layer,
        wall_s=float(desk.config.train.check_timeout_s),
    )
    if done.result.why in (Why.STOPPED, Why.FROZEN, Why.NO_DAEMON, Why.LOST):
        raise Stopped
    output = cut(done.output, STORED_OUTPUT_CHARS)
    if done.result.why is not Why.EXIT:
        output += f"\n[ended by clawd: {done.result.why} {done.result.reason}]"
    verdict = "green" if done.ok else "red"
    log = f"runs/{marker}/stream.jsonl"
    return TestVerdict(verdict, 1, done.result.rc, done.result.wall_ms, log, output)


def _setup_clause(failed: SetupFailed) -> Json:
    output = cut(failed.output, STORED_OUTPUT_CHARS)
    return {"id": "setup", "run": "set-up", "rc": 1, "ok": False, "wall_ms": 0, "output": output}


def _still_asked(db: Db, task: Task) -> bool:
    """Whether the task stands as it stood when the check began."""
    fresh = tasks.by_id(db, task.id)
    if fresh is None or fresh.state != "review":
        return False
    return (fresh.fence, fresh.candidate, fresh.contract_version) == (
        task.fence, task.candidate, task.contract_version,
    )  # fmt: skip


def _settle(
    desk: Desk, project: Project, task: Task, candidate: Candidate, results: list[Json]
) -> None:
    red = [r for r in results if not r["ok"]]
    with desk.db() as db, db.transaction():
        if not _still_asked(db, task):
            return  # edited, cancelled or taken while it was checked: this says nothing any more
        proofs = tuple(
            evidence.add(
                db,
                task=task.id,
                run=candidate.run,
                kind="check",
                claim=f"{r['id']}: {r['run']}",
                proven=bool(r["ok"]),
                digest=candidate.tree,
                check_spec={"run": r["run"], "rc": r["rc"]},
            )
            for r in results
        )
        facts = Facts({"tree": candidate.tree, "candidate": candidate.oid}, evidence=proofs)
        runs.checked(db, candidate.id, "red" if red else "green", results)
        if not red:
            why = f"{len(results)} acceptance clauses green on tree {candidate.tree[:12]}"
            moves.tell(db, "task", task.id, "check_green", why, actor="check", facts=facts)
        else:
            failed = ", ".join(str(r["id"]) for r in red)
            facts = Facts(
                {"tree": candidate.tree, "red": [_short(r) for r in red]}, evidence=proofs
            )
            ending.charge(
                desk, db, project, task, "check_red", Reason.CHECK_RED,
                f"acceptance {failed} red on tree {candidate.tree[:12]}",
                fence=task.fence, run=candidate.run, facts=facts,
            )  # fmt: skip
        moves.hint(db)


def _short(result: Json) -> Json:
    return {**result, "output": cut(str(result["output"]), 4_000)}
