"""The commands inbox, answer, approve and reject."""

from __future__ import annotations

from dataclasses import dataclass

import click

from clawd.cli import show
from clawd.cli.session import Session, open_db
from clawd.cli.verbs import ID, tell, text_of, verb
from clawd.store.views import Stopped, Waiting
from clawd.store.views_news import Notice


@dataclass(frozen=True, slots=True)
class Inbox:
    """What waits for a person, and what nobody but a person can move."""

    waiting: list[Waiting]
    stopped: list[Stopped]


@verb("inbox", "clawd inbox", "clawd inbox --json | jq '.waiting[].command'", shape=Inbox)
@click.pass_obj
def inbox_command(session: Session, as_json: bool) -> None:
    """What waits for you: questions, requests, and tasks that are parked.

    Each comes with the command that settles it.
    """
    from clawd.store import views  # noqa: PLC0415

    with open_db(session) as db:
        found = Inbox(views.inbox(db), views.stopped(db))
    if as_json:
        show.as_json(found)
        return
    if not found.waiting and not found.stopped:
        show.line("Nothing waits for you.")
    for ask in found.waiting:
        about = f"task {ask.task}" if ask.task else f"goal {ask.goal}" if ask.goal else ask.project
        show.heading(f"{ask.id}  {ask.kind}  {about}  {show.one_line(ask.title, 80)}")
        show.block(ask.question, 4)
        for option in ask.options:
            show.line(f"    - {show.one_line(option, 200)}")
        show.line(f"    {ask.command}")
    for item in found.stopped:
        show.heading(f"{item.kind} {item.id}  stopped: {item.reason or 'no reason'}  "
                     f"{show.one_line(item.title, 80)}")  # fmt: skip
        show.line(f"    {show.one_line(item.action) or _default_action(item)}")


@verb("answer", "clawd answer 3 'Yes, keep the old format too.'", "clawd answer 3 - < reply.txt")
@click.argument("question", type=ID, metavar="ID")
@click.argument("text", nargs=-1, required=True)
@click.pass_obj
def answer_command(session: Session, question: int, text: tuple[str, ...], as_json: bool) -> None:
    """Answer question ID; the task goes on with your answer in its contract.

    TEXT `-` reads the answer from stdin. Put `--` before a text that begins with a dash.
    """
    from clawd import steer  # noqa: PLC0415

    said = text_of(text[0]) if len(text) == 1 else " ".join(text)
    with open_db(session) as db:
        tell(steer.answer(db, question, said), as_json)


@verb("approve", "clawd approve 4")
@click.argument("request", type=ID, metavar="ID")
@click.pass_obj
def approve_command(session: Session, request: int, as_json: bool) -> None:
    """Say yes to request ID: exactly what it names, once."""
    from clawd import steer  # noqa: PLC0415

    with open_db(session) as db:
        tell(steer.approve(db, request), as_json)


@verb("reject", "clawd reject 4", "clawd reject 4 --why 'not in this release'")
@click.argument("request", type=ID, metavar="ID")
@click.option("--why", default="", metavar="TEXT", help="The reason, kept with the decision.")
@click.pass_obj
def reject_command(session: Session, request: int, why: str, as_json: bool) -> None:
    """Say no to request ID; a task that waited for it is parked."""
    from clawd import steer  # noqa: PLC0415

    with open_db(session) as db:
        tell(steer.reject(db, request, why=why), as_json)


def _default_action(item: Stopped) -> str:
    if item.kind == "goal":
        return f"reword it in ROADMAP.md, or clawd goal reopen {item.id}"
    return f"clawd why {item.id}, then clawd task retry {item.id} or clawd task cancel {item.id}"


@dataclass(frozen=True, slots=True)
class Notices:
    """What clawd told you, the newest first."""

    notices: list[Notice]


@verb("notices", "clawd notices", "clawd notices --last 50", shape=Notices)
@click.option("--last", type=click.IntRange(1, 1000), default=20, show_default=True,
              help="How many.")  # fmt: skip
@click.pass_obj
def notices_command(session: Session, last: int, as_json: bool) -> None:
    """What clawd told you: landings with the commands to take and undo them, and alarms."""
    from clawd.store import views_news  # noqa: PLC0415

    with open_db(session) as db:
        found = Notices(views_news.notices(db, last))
    if as_json:
        show.as_json(found)
        return
    for one in reversed(found.notices):
        show.line(f"{one.at.astimezone():%m-%d %H:%M}  {show.one_line(one.text, 400)}")
        for name, command in (("take it", one.take), ("undo it", one.undo)):
            if command:
                show.line(f"             {name}: {command}")
    if not found.notices:
        show.line("There is no news yet.")
