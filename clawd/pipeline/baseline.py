"""Keeps main judged: takes in the operator's commits and tests main before anybody is blamed."""

from __future__ import annotations

from pathlib import Path

from clawd.adapters import crash
from clawd.adapters.git import merge
from clawd.errors import ClawdError
from clawd.model import Facts, Project
from clawd.pipeline import report
from clawd.pipeline.desk import Desk, branch_of
from clawd.pipeline.layer import SetupFailed, ensure
from clawd.pipeline.testing import Stopped, judge_tree
from clawd.pipeline.workspace import CLAWD
from clawd.store import approvals, moves, projects


def keep(desk: Desk, project: Project, *, runs: int = 1) -> Project:
    """Main as it stands now, with the operator's commits in it and its tests known."""
    _take_in(desk, project)
    with desk.db() as db:
        fresh = projects.by_id(db, project.id)
    assert fresh is not None  # noqa: S101 - projects are never deleted
    hub = desk.hub(project)
    main = hub.resolve(project.main_ref)
    tree = hub.tree_of(main)
    if fresh.baseline_tree == tree and fresh.baseline_verdict != "unknown":
        return fresh
    _judge(desk, fresh, main, tree, runs)
    with desk.db() as db:
        judged = projects.by_id(db, project.id)
    assert judged is not None  # noqa: S101
    return judged


def _take_in(desk: Desk, project: Project) -> None:
    """The operator's own commits flow into the hub first; what diverged is merged or asked."""
    hub = desk.hub(project)
    branch = branch_of(project)
    theirs = hub.sync_from(Path(project.path), branch)
    ours = hub.head(project.main_ref)
    if theirs == ours or (ours is not None and hub.is_ancestor(theirs, ours)):
        return
    crash.point("sync.before")
    if ours is None or hub.is_ancestor(ours, theirs):
        if merge.swap(hub, project.main_ref, theirs, ours):
            crash.point("sync.mid")
            _note_new_main(desk, project, theirs, "took in the operator's commits")
        return
    joined = merge.merge(hub, ours, theirs, rewritten=True)
    if joined.tree is None:
        _hold_landings(desk, project, joined.conflicts)
        return
    commit = merge.commit_merge(
        hub, joined.tree, [ours, theirs], f"Merge the operator's {branch}", CLAWD, desk.now()
    )
    if merge.swap(hub, project.main_ref, commit, ours):
        _note_new_main(desk, project, commit, "merged the operator's commits with what landed")


def _note_new_main(desk: Desk, project: Project, commit: str, what: str) -> None:
    with desk.db() as db, db.transaction():
        projects.note(
            db, project.id, operator_oid=commit, landings_held="", not_followed="main moved"
        )
        moves.tell(db, "project", project.id, "main_moved", what, facts=Facts({"main": commit}))


def _hold_landings(desk: Desk, project: Project, files: list[str]) -> None:
    listed = ", ".join(files[:10])
    question = (
        f"Your {branch_of(project)} and what clawd landed conflict in {listed}. "
        "Merge clawd's branch into yours by hand; landings wait until then."
    )
    with desk.db() as db, db.transaction():
        if project.landings_held:
            return
        projects.note(db, project.id, landings_held=f"diverged in {listed}")
        approvals.ask(db, kind="roadmap", question=question, project=project.id)
        moves.tell(db, "project", project.id, "landings_held", question)
        report.needs_you(db, project, question, dedupe=f"diverged:{project.id}:{listed}")


def look_again(desk: Desk, project: Project) -> None:
    """Main that is not green may have been judged by bad luck or a bad hour: a fresh look."""
    hub = desk.hub(project)
    main = hub.resolve(project.main_ref)
    _judge(desk, project, main, hub.tree_of(main), runs=1, fresh=True)


def _judge(
    desk: Desk, project: Project, main: str, tree: str, runs: int, *, fresh: bool = False
) -> None:
    if not project.test_cmd:
        _settle(desk, project, tree, "no_command", "no test command is configured")
        return
    try:
        layer = ensure(desk, project, main)
        if isinstance(layer, SetupFailed):
            _settle(desk, project, tree, "setup_failed", layer.output)
            return
        verdict = judge_tree(desk, project, main, layer, runs=runs, fresh=fresh)
    except Stopped:
        return
    # A single flake is written down and does not stop a night's work; of three runs it does.
    name = "green" if verdict.verdict == "flaky" and runs == 1 else verdict.verdict
    _settle(desk, project, tree, name, verdict.output)


def _settle(desk: Desk, project: Project, tree: str, verdict: str, output: str) -> None:
    changed = verdict != project.baseline_verdict
    with desk.db() as db, db.transaction():
        projects.note(
            db,
            project.id,
            baseline_tree=tree,
            baseline_verdict=verdict,
            baseline_log="" if verdict == "green" else output,
        )
        moves.tell(
            db, "project", project.id, "baseline", f"main is {verdict}", facts=Facts({"tree": tree})
        )
        if changed and verdict != "green":
            report.base_not_green(db, project, verdict, output)
        moves.hint(db)


def refresh(desk: Desk, project: Project, runs: int = 1) -> Project:
    """`keep`, with a repository that cannot be read told once and tried again later."""
    try:
        return keep(desk, project, runs=runs)
    except ClawdError as error:
        with desk.db() as db, db.transaction():
            report.needs_you(db, project, str(error), dedupe=f"repo:{project.id}:{error.message}")
            if project.baseline_verdict == "green":  # what cannot be read cannot be worked on
                why = f"the repository cannot be read: {error.message}"
                projects.note(db, project.id, baseline_verdict="unknown", baseline_log=why)
                moves.tell(db, "project", project.id, "baseline", why)
            return projects.by_id(db, project.id) or project
