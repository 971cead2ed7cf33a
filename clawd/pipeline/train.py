"""The merge train: tests the combined tree, writes the intent, moves main by compare-and-swap."""

from __future__ import annotations

from dataclasses import dataclass

from clawd.adapters import crash
from clawd.adapters.git import merge
from clawd.adapters.git.hub import Hub
from clawd.model import Candidate, Facts, Json, LandingRow, Project, Task
from clawd.pipeline import ending, takeover
from clawd.pipeline.brief import cut
from clawd.pipeline.desk import Desk
from clawd.pipeline.layer import SetupFailed, ensure
from clawd.pipeline.testing import Stopped, judge_tree
from clawd.pipeline.workspace import CLAWD
from clawd.policy.failure import Reason
from clawd.policy.train import Seen, next_step
from clawd.store import landings, moves, runs, tasks
from clawd.store.landings import TestVerdict
from clawd.store.rows import Db

SLOTS = 1


@dataclass(frozen=True, slots=True)
class Car:
    """One candidate merged onto today's main, in memory."""

    task: Task
    candidate: Candidate
    main: str
    commit: str
    tree: str


def turn(desk: Desk, project: Project) -> bool:
    """One step of the train; True when something moved and another turn is due."""
    recover_intents(desk, project)
    if project.landings_held:
        return False
    green = project.baseline_verdict == "green"
    with desk.db() as db:
        queue = [
            t
            for t in tasks.in_state(db, "merging")
            if t.project == project.id and (green or t.mends)
        ]
    step = next_step([t.id for t in queue], {}, SLOTS, 0.0)
    if not step.test:
        return False
    first = next(t for t in queue if t.id == step.test[0][0])
    car = _couple(desk, project, first)
    if car is None:
        return True
    crash.point("merge_test.before")
    try:
        verdict = _test(desk, project, car)
    except Stopped:
        return False
    crash.point("merge_test.after")
    seen = Seen.GREEN if verdict.verdict == "green" else Seen.RED
    step = next_step([first.id], {(first.id,): seen}, SLOTS, 0.0)
    if step.land:
        _land(desk, project, car, verdict)
    else:
        _send_back_red(desk, project, car, verdict)
    return True


def _couple(desk: Desk, project: Project, task: Task) -> Car | None:
    """The candidate merged onto main in memory; what conflicts goes back at once."""
    hub = desk.hub(project)
    main = hub.resolve(project.main_ref)
    with desk.db() as db:
        candidate = runs.candidate(db, task.candidate or 0)
    assert candidate is not None  # noqa: S101 - a merging task has one
    joined = merge.merge(hub, main, candidate.oid)
    if joined.tree is None:
        _send_back_conflict(desk, project, task, candidate, main, joined)
        return None
    message = f"{task.title}\n\nLands task {task.id} of {project.slug}."
    trailers = {"Clawd-Task": str(task.id), "Clawd-Run": str(candidate.run)}
    commit = merge.commit_merge(
        hub, joined.tree, [main, candidate.oid], message, CLAWD, desk.now(), trailers
    )
    return Car(task, candidate, main, commit, joined.tree)


def _test(desk: Desk, project: Project, car: Car) -> TestVerdict:
    layer = ensure(desk, project, car.commit)
    if isinstance(layer, SetupFailed):
        return TestVerdict("red", 1, None, 0, "", f"set-up failed:\n{layer.output}")
    return judge_tree(desk, project, car.commit, layer)


def _land(desk: Desk, project: Project, car: Car, verdict: TestVerdict) -> None:
    """Intent row, swap, check of what main is now: a crash between any two is recovered."""
    with desk.db() as db, db.transaction():
        fresh = tasks.by_id(db, car.task.id)
        if fresh is None or fresh.state != "merging" or fresh.candidate != car.candidate.id:
            return  # cancelled or edited while it was tested
        intent = landings.intend(
            db,
            project=project.id,
            task=car.task.id,
            kind="land",
            candidate=car.candidate.id,
            old_main=car.main,
            new_main=car.commit,
            tree=car.tree,
        )
        why = f"tests {verdict.verdict} on tree {car.tree[:12]}, main {car.main[:12]}"
        moves.tell(db, "task", car.task.id, "intend", why, actor="train")
    crash.point("land.before")
    complete(desk, project, intent)


def complete(desk: Desk, project: Project, intent: LandingRow) -> bool:
    """Makes an intent true or void; the same for the train and for recovery after a crash."""
    hub = desk.hub(project)
    if not _is_landed(hub, project, intent):
        moved = merge.swap(hub, project.main_ref, intent.new_main, intent.old_main)
        if not moved:
            with desk.db() as db, db.transaction():
                landings.settle(db, intent.id, "void")
                moves.tell(db, "task", intent.task, "landing_void", "main moved meanwhile",
                           actor="train")  # fmt: skip
            return False
    if hub.tree_of(intent.new_main) != intent.tree:
        raise AssertionError(f"landing {intent.id}: the tree on main is not the tested one")
    crash.point("land.mid")
    takeover.after_landing(desk, project, intent)
    crash.point("land.told")
    return True


def _is_landed(hub: Hub, project: Project, intent: LandingRow) -> bool:
    main = hub.head(project.main_ref)
    return main is not None and hub.is_ancestor(intent.new_main, main)


def recover_intents(desk: Desk, project: Project) -> None:
    """What a crash left between intent and landing: git is the witness, the row the ledger."""
    with desk.db() as db:
        left = landings.intents(db, project.id)
    for intent in left:
        complete(desk, project, intent)


def _send_back_conflict(
    desk: Desk,
    project: Project,
    task: Task,
    candidate: Candidate,
    main: str,
    joined: merge.Merge,
) -> None:
    hub = desk.hub(project)
    inputs: Json = {
        "files": joined.conflicts,
        "base": hub.merge_base(main, candidate.oid) or "",
        "ours": main,
        "theirs": candidate.oid,
        "output": cut(joined.messages, 4_000),
    }
    why = f"conflicts with main in {', '.join(joined.conflicts[:5])}"
    with desk.db() as db, db.transaction():
        _bounce(desk, db, project, task, Reason.CONFLICT, why, inputs)


def _send_back_red(desk: Desk, project: Project, car: Car, verdict: TestVerdict) -> None:
    inputs: Json = {
        "files": [],
        "base": car.candidate.base_oid,
        "ours": car.main,
        "theirs": car.candidate.oid,
        "output": cut(verdict.output, 8_000),
    }
    why = f"tests {verdict.verdict} on the combined tree {car.tree[:12]} (main {car.main[:12]})"
    with desk.db() as db, db.transaction():
        _bounce(desk, db, project, car.task, Reason.TESTS_RED, why, inputs)


def _bounce(
    desk: Desk, db: Db, project: Project, task: Task, reason: Reason, why: str, inputs: Json
) -> None:
    fresh = tasks.by_id(db, task.id)
    if fresh is None or fresh.state != "merging":
        return
    facts = Facts(inputs, policy="train", version="1")
    ending.bounce(desk, db, project, fresh, reason, why, facts)
    moves.hint(db)
