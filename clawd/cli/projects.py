"""The commands of `clawd project`."""

from __future__ import annotations

from dataclasses import dataclass

import click

from clawd.cli import show
from clawd.cli.session import Session, open_db
from clawd.cli.verbs import pick_project, tell, verb
from clawd.store.views_idle import ProjectLine


@dataclass(frozen=True, slots=True)
class Projects:
    """A list of projects."""

    projects: list[ProjectLine]


@click.group("project")
def project_command() -> None:
    """Projects: the repositories under care."""


@verb("list", "clawd project list", shape=Projects)
@click.pass_obj
def list_(session: Session, as_json: bool) -> None:
    """List the repositories under care and how their main is."""
    from clawd.store import views  # noqa: PLC0415

    with open_db(session) as db:
        found = views.project_lines(db)
    if as_json:
        show.as_json(Projects(found))
        return
    show.table(
        ("slug", "main is", "open", "landing", "paused", "path"),
        [(p.slug, p.baseline, p.open_tasks, p.landing, p.paused, p.path) for p in found],
        "No project yet. Add one: clawd init PATH",
    )
    for project in found:
        for problem in (project.landings_held, project.roadmap_problem):
            if problem:
                show.line(f"{project.slug}: {show.one_line(problem)}")


@verb("pause", "clawd project pause shop --why 'release week'")
@click.argument("slug")
@click.option("--why", default="", metavar="TEXT", help="The reason, kept with the decision.")
@click.pass_obj
def pause(session: Session, slug: str, why: str, as_json: bool) -> None:
    """No claims and no landings in one project."""
    from clawd import steer  # noqa: PLC0415

    with open_db(session) as db:
        tell(steer.pause(db, pick_project(db, slug), why=why), as_json)


@verb("resume", "clawd project resume shop")
@click.argument("slug")
@click.pass_obj
def resume(session: Session, slug: str, as_json: bool) -> None:
    """Work on a paused project again."""
    from clawd import steer  # noqa: PLC0415

    with open_db(session) as db:
        tell(steer.resume(db, pick_project(db, slug)), as_json)


for _verb in (list_, pause, resume):
    project_command.add_command(_verb)
