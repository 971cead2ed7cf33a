"""A hub that lacks what the database says landed: deleted, made anew, or restored from before."""

from __future__ import annotations

from pathlib import Path

from clawd.adapters import crash
from clawd.adapters.git import merge
from clawd.adapters.git.hub import Hub
from clawd.errors import ClawdError
from clawd.model import Facts, LandingRow, Project
from clawd.pipeline import report
from clawd.pipeline.desk import Desk, branch_of
from clawd.store import landings, moves, projects

_HELD = "hub:"

# Truth table of the last landing and the hub; the first match wins:
#   none, or main has it                     -> as it should be
#   the operator's repository was shown it
#     and main is that, older than it        -> fetched back, main goes on from there
#   otherwise                                -> landings held until the right hub is back


def bring_back(desk: Desk, project: Project) -> bool:
    """What landed comes back from where it was shown; before newer commits flow in."""
    hub = desk.hub(project)
    last = _missing(desk, hub, project)
    if last is None:
        return False
    try:
        shown = hub.shown_in(Path(project.path), branch_of(project))
    except ClawdError:
        return False
    main = hub.head(project.main_ref)
    older = main is None or hub.is_ancestor(main, shown)
    if not older or not hub.has(last.new_main) or not hub.is_ancestor(last.new_main, shown):
        return False
    crash.point("restore.before")
    if not merge.swap(hub, project.main_ref, shown, main):
        return False
    crash.point("restore.mid")
    why = f"the hub lacked landing {last.id}: main is back at {shown[:12]}, as you were shown it"
    with desk.db() as db, db.transaction():
        facts = Facts({"main": shown, "before": main})
        moves.tell(db, "project", project.id, "hub_restored", why, actor="reconcile", facts=facts)
        report.notice(db, project, f"{project.slug}: {why}.", dedupe=f"hub_back:{last.id}:{shown}")
    crash.point("restore.after")
    return True


def compare(desk: Desk, project: Project) -> bool:
    """Whether main has what landed; while it does not, nothing else lands."""
    hub = desk.hub(project)
    last = _missing(desk, hub, project)
    if last is None:
        _let_go(desk, project)
        return True
    why = f"the hub does not have landing {last.id} ({last.new_main[:12]}) of task {last.task}"
    with desk.db() as db, db.transaction():
        projects.note(db, project.id, landings_held=f"{_HELD} {why}")
        moves.tell(db, "project", project.id, "landings_held", why, actor="reconcile")
        text = (
            f"Landings of {project.slug} are held: {why}. Put the hub that belongs to it back to "
            f"{hub.path}, or its main into your repository as refs/remotes/clawd/"
            f"{branch_of(project)}; clawd looks again every minute."
        )
        report.needs_you(db, project, text, dedupe=f"hub:{project.id}:{last.id}")
    return False


def is_held(project: Project) -> bool:
    """Whether landings wait for the hub that belongs to the database."""
    return project.landings_held.startswith(_HELD)


def _missing(desk: Desk, hub: Hub, project: Project) -> LandingRow | None:
    """The last landing, when main does not have it."""
    with desk.db() as db:
        last = landings.last_landed(db, project.id)
    if last is None:
        return None
    main = hub.head(project.main_ref)
    known = main is not None and hub.has(last.new_main) and hub.is_ancestor(last.new_main, main)
    return None if known else last


def _let_go(desk: Desk, project: Project) -> None:
    if not is_held(project):
        return
    with desk.db() as db, db.transaction():
        projects.note(db, project.id, landings_held="")
        why = "main has everything that landed"
        moves.tell(db, "project", project.id, "landings_go_on", why, actor="reconcile")
        report.notice(db, project, f"{project.slug}: {why} again, landings go on.")
        moves.hint(db)
