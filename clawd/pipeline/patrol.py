"""Looks at main again from time to time: what was green can turn red without anybody landing."""

from __future__ import annotations

from clawd.model import Facts, LandingRow, Project
from clawd.pipeline import report
from clawd.pipeline.desk import Desk
from clawd.pipeline.layer import Layer, SetupFailed, ensure
from clawd.pipeline.testing import Stopped, judge_tree
from clawd.store import landings, moves, projects

# Truth table, main's tip red on the timer; the first match wins:
#   green in any of two more looks           -> flaky, noted, nothing held
#   its parent red as well                   -> the environment: landings held, nothing reverted
#   parent green twice, tip red twice, ours  -> the tip is taken back
#   parent green twice, tip red twice, yours -> main is red: no work starts, you are told


def retest(desk: Desk, project: Project) -> str:
    """One patrol; returns what it found: green, flaky, environment, reverted, red or stopped."""
    hub = desk.hub(project)
    main = hub.resolve(project.main_ref)
    try:
        layer = ensure(desk, project, main)
        if isinstance(layer, SetupFailed):
            return _environment(desk, project, "the set-up command fails now")
        seen = judge_tree(desk, project, main, layer, fresh=True)
        if seen.verdict == "green":
            return _green_again(desk, project)
        if seen.verdict == "flaky":
            return _flaky(desk, project, main)
        return _judge_red(desk, project, main, layer, seen.output)
    except Stopped:
        return "stopped"


def _judge_red(desk: Desk, project: Project, main: str, layer: Layer, output: str) -> str:
    """Red twice in a row on one tree; what its parent says tells whose fault it is."""
    hub = desk.hub(project)
    parents = hub.parents(main)
    if not parents:
        return _environment(desk, project, "main's first commit is red now")
    before = judge_tree(desk, project, parents[0], layer, fresh=True, runs=2)
    if before.verdict != "green":
        return _environment(desk, project, "the commit before main's tip is red now, too")
    with desk.db() as db:
        ours = landings.by_commit(db, project.id, main)
    if ours is None:
        _main_is_red(desk, project, main, output)
        return "red"
    _take_back(desk, project, ours)
    return "reverted"


def _green_again(desk: Desk, project: Project) -> str:
    if project.landings_held.startswith("environment"):
        with desk.db() as db, db.transaction():
            projects.note(db, project.id, landings_held="")
            why = "main is green again"
            moves.tell(db, "project", project.id, "landings_go_on", why, actor="patrol")
            report.notice(db, project, f"{project.slug}: main is green again, landings go on.")
            moves.hint(db)
    return "green"


def _flaky(desk: Desk, project: Project, main: str) -> str:
    with desk.db() as db:
        why = f"main {main[:12]} was red and green on the same tree"
        moves.tell(db, "project", project.id, "flaky", why, actor="patrol")
    return "flaky"


def _environment(desk: Desk, project: Project, why: str) -> str:
    """It was green when it landed: something around it changed, so nothing is taken back."""
    with desk.db() as db, db.transaction():
        projects.note(db, project.id, landings_held=f"environment: {why}")
        moves.tell(db, "project", project.id, "landings_held", why, actor="patrol")
        text = f"Landings of {project.slug} are held: {why}, though it was green when it landed."
        report.needs_you(db, project, text, dedupe=f"environment:{project.id}:{why}")
    return "environment"


def _main_is_red(desk: Desk, project: Project, main: str, output: str) -> None:
    with desk.db() as db, db.transaction():
        projects.note(db, project.id, baseline_verdict="red", baseline_log=output)
        why = f"{main[:12]} is red, its parent green"
        moves.tell(db, "project", project.id, "baseline", why, actor="patrol")
        report.base_not_green(db, project, "red", output)


def _take_back(desk: Desk, project: Project, ours: LandingRow) -> None:
    """Parent green twice, tip red twice, and the tip is ours: the train reverts it."""
    with desk.db() as db, db.transaction():
        landings.ask_undo(db, ours.task, "patrol")
        why = f"main {ours.new_main[:12]} is red twice, its parent green twice"
        facts = Facts({"landing": ours.id}, policy="patrol", version="1")
        moves.tell(db, "task", ours.task, "patrol_red", why, actor="patrol", facts=facts)
        text = f"Task {ours.task} turned main red after it landed; clawd takes it back."
        report.needs_you(db, project, text, dedupe=f"patrol:{ours.id}")
        moves.hint(db)
