"""The commands pause, resume and kill."""

from __future__ import annotations

import contextlib
from datetime import timedelta

import click

from clawd.cli.session import Session, open_db, open_running_db
from clawd.cli.verbs import Finite, pick_project, project_option, tell, verb


@verb("pause", "clawd pause", "clawd pause --project shop --why 'release week'",
      "clawd pause --hours 8")  # fmt: skip
@project_option
@click.option("--why", default="", metavar="TEXT", help="The reason, kept with the decision.")
@click.option("--hours", type=Finite(0, 8760), help="Resume by itself after so long.")
@click.pass_obj
def pause_command(
    session: Session, project: str | None, why: str, hours: float | None, as_json: bool
) -> None:
    """No new work and no landings; live runs go on to their end.

    Without --project everything pauses. `clawd resume` lifts it.
    """
    from clawd import steer  # noqa: PLC0415
    from clawd.store import views_idle  # noqa: PLC0415

    with open_db(session) as db:
        until = None
        if hours is not None:
            until = views_idle.value(db, "select clawd_now() as v") + timedelta(hours=hours)
        which = pick_project(db, project) if project is not None else None
        tell(steer.pause(db, which, why=why, until=until), as_json)


@verb("resume", "clawd resume", "clawd resume --project shop")
@project_option
@click.pass_obj
def resume_command(session: Session, project: str | None, as_json: bool) -> None:
    """Lift a pause; without --project also the kill switch."""
    from clawd import steer  # noqa: PLC0415

    with open_db(session) as db:
        which = pick_project(db, project) if project is not None else None
        tell(steer.resume(db, which, home=session.home), as_json)


@verb("kill", "clawd kill", "clawd kill --why 'it deletes things'")
@click.option("--why", default="", metavar="TEXT", help="The reason, kept with the decision.")
@click.pass_obj
def kill_command(session: Session, why: str, as_json: bool) -> None:
    """End every agent now; nothing starts again until `clawd resume`.

    Works with the daemon gone and the database down: the switch is a file every run looks for
    twice a second. Tasks go back to the queue, none is lost and none is charged.
    """
    from clawd import steer  # noqa: PLC0415

    steer.freeze(session.home, why=why)
    db = open_running_db(session)
    with contextlib.ExitStack() as stack:
        if db is not None:
            stack.callback(db.close)
        tell(steer.kill(session.home, db, why=why), as_json)
