"""Nothing is done before its evidence is: landed work is looked for on main, goals are closed."""

from __future__ import annotations

from clawd.adapters import crash
from clawd.adapters.git import merge
from clawd.adapters.git.tree import with_file
from clawd.model import Facts, Goal, Project, Task
from clawd.pipeline import report, takeover
from clawd.pipeline.desk import Desk
from clawd.pipeline.layer import SetupFailed, ensure
from clawd.pipeline.testing import Stopped, judge_tree
from clawd.pipeline.workspace import CLAWD
from clawd.policy import roadmap
from clawd.policy.failure import Reason
from clawd.store import evidence, goals, landings, moves, projects, runs

ROADMAP = "ROADMAP.md"


def prove(desk: Desk, project: Project, task: Task) -> bool:
    """From verifying to done, when the daemon itself finds the work on main."""
    hub = desk.hub(project)
    main = hub.resolve(project.main_ref)
    with desk.db() as db:
        candidate = runs.candidate(db, task.candidate or 0)
        rows = [row for row in landings.of_task(db, task.id) if row.state == "landed"]
    if candidate is None:
        return False
    if candidate.no_change:
        claim = f"no change needed: {len(candidate.checks)} clauses green on {candidate.tree[:12]}"
        proven = candidate.check_state == "green"
    else:
        claim = f"candidate {candidate.oid[:12]} is on main {main[:12]}"
        proven = bool(rows) and hub.has(candidate.oid) and hub.is_ancestor(candidate.oid, main)
    if not proven:
        return False  # main does not have it: compared and told where hubs are compared
    crash.point("prove.before")
    with desk.db() as db, db.transaction():
        proof = evidence.add(
            db, task=task.id, run=candidate.run, kind="on_main", claim=claim, proven=True,
            digest=candidate.oid, check_spec={"merge-base": ["--is-ancestor", candidate.oid, main]},
        )  # fmt: skip
        moves.move_task(
            db, task.id, "prove", why=claim, actor="verify",
            facts=Facts({"main": main}, evidence=(proof,)),
        )  # fmt: skip
        moves.hint(db)
    crash.point("prove.after")
    return True


def close_goals(desk: Desk) -> int:
    """Goals whose every task is proven are done; their box in the roadmap is ticked."""
    with desk.db() as db:
        finished = goals.finished(db)
    for goal in finished:
        with desk.db() as db, db.transaction():
            done = moves.move_goal(
                db, goal.id, "finish", why="every task of it is proven", actor="verify",
                done_by="clawd",
            )  # fmt: skip
            project = projects.by_id(db, goal.project)
            assert project is not None  # noqa: S101 - a goal's project is never deleted
            report.goal_done(db, project, done)
            moves.hint(db)
        crash.point("goal.after")
    return len(finished)


def tick(desk: Desk, project: Project) -> bool:
    """One daemon commit that marks what is done, tested and landed like any other change."""
    with desk.db() as db:
        due = [g for g in goals.of_project(db, project.id) if _box_is_wrong(g)]
    if not due or project.baseline_verdict != "green" or project.landings_held:
        return False
    hub = desk.hub(project)
    main = hub.resolve(project.main_ref)
    text = hub.read(main, ROADMAP)
    ticked, due = _ticked(text, due)
    if ticked == text:
        _mark(desk, due)
        return False
    commit = _commit(desk, project, main, ticked, due)
    try:
        layer = ensure(desk, project, commit)
        if isinstance(layer, SetupFailed):
            return False
        verdict = judge_tree(desk, project, commit, layer)
    except Stopped:
        return False
    if verdict.verdict == "red":
        _mark(desk, due)  # a roadmap the tests depend on is the operator's to tick
        return False
    crash.point("tick.before")
    if merge.swap(hub, project.main_ref, commit, main):
        crash.point("tick.mid")
        with desk.db() as db, db.transaction():
            projects.note(db, project.id, baseline_tree=hub.tree_of(commit))
            moves.tell(
                db, "project", project.id, "roadmap_tick",
                f"ticked {len(due)} goals on main {commit[:12]}", actor="train",
                facts=Facts({"goals": [g.id for g in due], "main": commit}),
            )  # fmt: skip
        _mark(desk, due)
        crash.point("tick.after")
        takeover.follow(desk, project, commit)
    return True


def _box_is_wrong(goal: Goal) -> bool:
    """Done by us and not ticked yet, or ticked by us and taken back since."""
    if goal.marked:
        return goal.state == "planned" and goal.reason == Reason.REVERTED
    return goal.state == "done" and goal.done_by == "clawd" and not goal.ticked


def _ticked(raw: bytes | None, due: list[Goal]) -> tuple[bytes, list[Goal]]:
    """The file with its boxes right, and the goals it has a line for; others wait for theirs."""
    found: list[Goal] = []
    try:
        text = roadmap.decode(raw or b"")
        for goal in due:
            marks = (roadmap.tick, roadmap.untick)
            want, other = marks[::-1] if goal.marked else marks
            after = want(text, goal.title, goal.line, goal.ident)
            if after != text or other(text, goal.title, goal.line, goal.ident) != text:
                found.append(goal)
            text = after
    except roadmap.RoadmapBroken:
        return raw or b"", []
    return text.encode(), found


def _commit(desk: Desk, project: Project, main: str, text: bytes, due: list[Goal]) -> str:
    hub = desk.hub(project)
    tree = with_file(hub, main, ROADMAP, text)
    titles = "\n".join(f"- {goal.title}" for goal in due)
    message = f"Mark {len(due)} {'goal' if len(due) == 1 else 'goals'} on the roadmap\n\n{titles}"
    return merge.commit_merge(hub, tree, [main], message, CLAWD, desk.now())


def _mark(desk: Desk, due: list[Goal]) -> None:
    with desk.db() as db:
        for goal in due:
            goals.mark_marked(db, goal.id, not goal.marked)
