"""The commands of `clawd goal`."""

from __future__ import annotations

from dataclasses import dataclass

import click

from clawd.cli import show
from clawd.cli.session import Session, open_db
from clawd.cli.verbs import ID, pick_project, project_option, tell, text_of, verb
from clawd.model import Json
from clawd.store.views_queue import GoalLine, TaskLine
from clawd.store.views_task import Moment


@dataclass(frozen=True, slots=True)
class Goals:
    """A list of goals."""

    goals: list[GoalLine]


@dataclass(frozen=True, slots=True)
class GoalPage:
    """Everything about one goal."""

    goal: GoalLine
    section: str
    body: str
    spec: Json
    owner: str
    tasks: list[TaskLine]
    timeline: list[Moment]


@click.group("goal")
def goal_command() -> None:
    """Goals: the items of ROADMAP.md, in its order."""


@verb("list", "clawd goal list", "clawd goal list --all --json", shape=Goals)
@click.option("--all", "everything", is_flag=True, help="Withdrawn ones too.")
@click.pass_obj
def list_(session: Session, everything: bool, as_json: bool) -> None:
    """List goals with how far their tasks are."""
    from clawd.store import views_queue  # noqa: PLC0415

    with open_db(session) as db:
        found = views_queue.goals(db, everything=everything)
    if as_json:
        show.as_json(Goals(found))
        return
    show.table(
        ("id", "state", "title", "tasks", "cost", "line", "project"),
        [(g.id, f"{g.state}: {g.reason}" if g.reason else g.state, g.title,
          f"{g.done}/{g.tasks}", show.usd(g.cost_micros), g.line, g.project) for g in found],
        "No goal yet. Write one into ROADMAP.md as `- [ ] what you want`.",
    )  # fmt: skip


@verb("show", "clawd goal show 2", shape=GoalPage)
@click.argument("goal", type=ID, metavar="ID")
@click.pass_obj
def show_(session: Session, goal: int, as_json: bool) -> None:
    """Everything about goal ID: what it says, its tasks, its story."""
    from clawd.cli.tasks import task_table  # noqa: PLC0415
    from clawd.store import goals, moves, views_queue, views_task  # noqa: PLC0415

    with open_db(session) as db:
        row = goals.by_id(db, goal)
        if row is None:
            raise moves.Missing(f"There is no goal {goal}.", "See them: clawd goal list --all")
        found = GoalPage(
            views_queue.goals(db, goal=goal)[0], row.section, row.body, row.spec, row.owner,
            views_queue.tasks(db, everything=True, goal=goal),
            views_task.timeline(db, "goal", goal),
        )  # fmt: skip
    if as_json:
        show.as_json(found)
        return
    show.heading(f"Goal {goal}  {show.one_line(found.goal.title)}")
    state = f"{found.goal.state}: {found.goal.reason}" if found.goal.reason else found.goal.state
    show.line(f"  {state}, {found.goal.project}, ROADMAP.md line {found.goal.line}")
    if found.goal.action:
        show.line(f"  next: {show.one_line(found.goal.action)}")
    if found.body:
        show.block(found.body, 4)
    for done_when in found.spec.get("done_when", []):
        show.line(f"  done when: {show.one_line(done_when)}")
    task_table(found.tasks, "  no task yet")
    show.table(
        ("at", "from", "event", "to", "by", "why", "lineage"),
        [(show.when(m.at), m.from_state, m.event, m.to_state, m.actor, show.one_line(m.why, 90),
          m.lineage) for m in found.timeline],
    )  # fmt: skip


@verb("add", "clawd goal add 'Orders can be exported as CSV'",
      "clawd goal add 'Faster start' --detail 'Under a second on a cold cache.'")  # fmt: skip
@click.argument("title")
@click.option("--detail", default="", metavar="TEXT", help="Lines under the item; `-` is stdin.")
@project_option
@click.pass_obj
def add(session: Session, title: str, detail: str, project: str | None, as_json: bool) -> None:
    """Append a goal to ROADMAP.md in your working copy.

    The file stays the truth: edit, move or delete the line as you like.
    """
    from clawd import steer  # noqa: PLC0415

    with open_db(session) as db:
        tell(steer.add_goal(db, pick_project(db, project), title, text_of(detail)), as_json)


@verb("reopen", "clawd goal reopen 2")
@click.argument("goal", type=ID, metavar="ID")
@click.pass_obj
def reopen(session: Session, goal: int, as_json: bool) -> None:
    """Plan a finished, planned or blocked goal again."""
    from clawd import steer  # noqa: PLC0415

    with open_db(session) as db:
        tell(steer.reopen_goal(db, goal), as_json)


for _verb in (list_, show_, add, reopen):
    goal_command.add_command(_verb)
