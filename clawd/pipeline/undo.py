"""Takes a landing back out of main by a revert that is tested like any other landing."""

from __future__ import annotations

from clawd.adapters import crash
from clawd.adapters.git import merge
from clawd.model import LandingRow, Project
from clawd.pipeline import landing, report
from clawd.pipeline.desk import Desk
from clawd.pipeline.layer import SetupFailed, ensure
from clawd.pipeline.testing import Stopped, judge_tree
from clawd.pipeline.workspace import CLAWD
from clawd.store import landings, moves, tasks


def turn(desk: Desk, project: Project) -> bool:
    """The next asked revert, dependants first; True when one was settled either way."""
    with desk.db() as db:
        waiting = landings.asked(db, project.id)
    if not waiting or project.landings_held:
        return False
    return _revert(desk, project, waiting[0])


def _revert(desk: Desk, project: Project, wanted: LandingRow) -> bool:
    hub = desk.hub(project)
    main = hub.resolve(project.main_ref)
    undone = merge.revert_tree(hub, wanted.car or wanted.new_main, main)
    if undone.tree is None:
        listed = ", ".join(undone.conflicts[:10])
        _refuse(desk, project, wanted, f"later work touches the same lines in {listed}")
        return True
    with desk.db() as db:
        task = tasks.by_id(db, wanted.task)
    assert task is not None  # noqa: S101 - a landing's task is never deleted
    message = f"Revert: {task.title}\n\nTakes back task {task.id} of {project.slug}."
    trailers = {"Clawd-Revert": str(task.id)}
    commit = merge.commit_merge(hub, undone.tree, [main], message, CLAWD, desk.now(), trailers)
    try:
        layer = ensure(desk, project, commit)
        if isinstance(layer, SetupFailed):
            _refuse(desk, project, wanted, "the set-up command fails without it")
            return True
        verdict = judge_tree(desk, project, commit, layer)
    except Stopped:
        return False
    if verdict.verdict == "red":
        _refuse(desk, project, wanted, f"the tests are {verdict.verdict} without it")
        return True
    crash.point("undo.before")
    with desk.db() as db, db.transaction():
        intent = landings.promise(db, wanted.id, main, commit, undone.tree)
        why = f"tests green on tree {undone.tree[:12]} without it"
        moves.tell(db, "task", wanted.task, "intend_revert", why, actor="train")
    crash.point("undo.mid")
    return landing.complete(desk, project, intent)


def _refuse(desk: Desk, project: Project, wanted: LandingRow, why: str) -> None:
    """Main stays as it is; the operator hears why, and a second undo may be asked later."""
    with desk.db() as db, db.transaction():
        landings.settle(db, wanted.id, "void")
        moves.tell(db, "task", wanted.task, "undo_refused", why, actor="train")
        text = f"Task {wanted.task} was not undone: {why}. Undo it by hand, or undo those first."
        report.needs_you(db, project, text, dedupe=f"undo:{wanted.id}")
