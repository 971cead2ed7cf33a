"""The commands of `clawd task`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, Any

import click

from clawd.cli import show
from clawd.cli.session import Session, open_db
from clawd.cli.verbs import ID, pick_project, project_option, tell, text_of, verb
from clawd.store.views_queue import TaskLine
from clawd.store.views_task import Detail


@dataclass(frozen=True, slots=True)
class Tasks:
    """A list of tasks."""

    tasks: list[TaskLine]


@click.group("task")
def task_command() -> None:
    """Tasks: pieces of work of ten to thirty minutes, each under a contract."""


def _contract_options(function: Any) -> Any:
    for option in (
        click.option("--priority", type=click.IntRange(0, 1000), help="0 is first (default 100)."),
        click.option("--may-change", multiple=True, metavar="GLOB",
                     help="Protected files it may change, for example pyproject.toml."),
        click.option("--scope", multiple=True, metavar="GLOB",
                     help="Files it is about, for example 'src/**' (default: all)."),
        click.option("--accept", multiple=True, metavar="COMMAND",
                     help="A command that must succeed on the result; repeatable."),
        click.option("--spec-file", type=click.File("r", "utf-8", "replace"), metavar="FILE",
                     help="Read the spec from a file; `-` is stdin."),
        click.option("--spec", metavar="TEXT", help="What exactly is wanted; `-` reads stdin."),
    ):  # fmt: skip
        function = option(function)
    return function


@verb("add", "clawd task add 'Parse dates as ISO 8601' --accept 'pytest tests/test_dates.py'",
      "clawd task add 'Tidy the README' --scope README.md --priority 10",
      "clawd task add 'Port the parser' --spec-file - < spec.md",
      "clawd task add -- '-v prints the version'")  # fmt: skip
@click.argument("title")
@_contract_options
@click.option("--needs", type=ID, multiple=True, metavar="ID", help="A task that must land first.")
@click.option("--mends-main", is_flag=True, help="It repairs main: it may start while main is red.")
@click.option("--key", metavar="TEXT", help="Idempotency key: the same key adds one task only.")
@project_option
@click.pass_obj
def add(
    session: Session, title: str, spec: str | None, spec_file: IO[str] | None,
    accept: tuple[str, ...], scope: tuple[str, ...], may_change: tuple[str, ...],
    priority: int | None, needs: tuple[int, ...], mends_main: bool,
    key: str | None, project: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Add a task of your own, past the planner.

    TITLE says in one line what should be true afterwards. Put `--` before a title that begins
    with a dash.
    """
    from clawd import steer  # noqa: PLC0415

    text = _spec(spec, spec_file) or ""
    with open_db(session) as db:
        outcome = steer.add_task(
            db, pick_project(db, project), title, text, accept=accept, scope=scope,
            may_change=may_change, needs=needs, priority=100 if priority is None else priority,
            mends=mends_main, idem_key=key,
        )  # fmt: skip
    tell(outcome, as_json)


@verb("list", "clawd task list", "clawd task list --state parked --state waiting",
      "clawd task list --all --json", shape=Tasks)  # fmt: skip
@click.option("--all", "everything", is_flag=True, help="Finished ones too.")
@click.option("--state", "states", multiple=True, metavar="STATE", help="Only these; repeatable.")
@click.option("--goal", type=ID, metavar="ID", help="Only tasks of this goal.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=200, show_default=True)
@project_option
@click.pass_obj
def list_(
    session: Session, everything: bool, states: tuple[str, ...], goal: int | None, limit: int,
    project: str | None, as_json: bool,
) -> None:  # fmt: skip
    """List tasks, open ones unless --all or --state says otherwise."""
    from clawd import machine  # noqa: PLC0415
    from clawd.store import views_queue  # noqa: PLC0415

    known = machine.states("task")
    for state in states:
        if state not in known:
            raise click.UsageError(f"No task is ever {state!r}; states are {', '.join(known)}.")
    with open_db(session) as db:
        slug = pick_project(db, project).slug if project is not None else None
        found = views_queue.tasks(
            db, everything=everything, states=states, goal=goal, project=slug, limit=limit
        )
    if as_json:
        show.as_json(Tasks(found))
        return
    task_table(found, "No open task. Add one: clawd task add 'TITLE'")


@verb("show", "clawd task show 12", "clawd task show 12 --json | jq .contract", shape=Detail)
@click.argument("task", type=ID, metavar="ID")
@click.pass_obj
def show_(session: Session, task: int, as_json: bool) -> None:
    """Everything about task ID: contract, story, runs, reviews, landings."""
    from clawd.cli.task_page import print_detail  # noqa: PLC0415
    from clawd.store import views_task  # noqa: PLC0415

    with open_db(session) as db:
        found = views_task.detail(db, task)
    if as_json:
        show.as_json(found)
        return
    print_detail(found)


@verb("edit", "clawd task edit 12 --spec 'Keep the old format readable.'",
      "clawd task edit 12 --accept 'make test' --priority 5")  # fmt: skip
@click.argument("task", type=ID, metavar="ID")
@click.option("--title", metavar="TEXT", help="A new title.")
@_contract_options
@click.pass_obj
def edit(
    session: Session, task: int, title: str | None, spec: str | None,
    spec_file: IO[str] | None, accept: tuple[str, ...], scope: tuple[str, ...],
    may_change: tuple[str, ...], priority: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Give task ID a new contract version.

    A run under the old one ends and a new one starts; a candidate is reviewed again. What an
    option names replaces what was there.
    """
    from clawd import steer  # noqa: PLC0415

    text = _spec(spec, spec_file)
    with open_db(session) as db:
        outcome = steer.edit_task(
            db, task, title=title, spec=text, accept=accept or None, scope=scope or None,
            may_change=may_change or None, priority=priority,
        )  # fmt: skip
    tell(outcome, as_json)


@verb("cancel", "clawd task cancel 12", "clawd task cancel 12 --why 'done by hand'")
@click.argument("task", type=ID, metavar="ID")
@click.option("--why", default="", metavar="TEXT", help="The reason, kept with the decision.")
@click.pass_obj
def cancel(session: Session, task: int, why: str, as_json: bool) -> None:
    """End task ID; what its agent does is thrown away."""
    from clawd import steer  # noqa: PLC0415

    with open_db(session) as db:
        tell(steer.cancel_task(db, task, why=why), as_json)


@verb("retry", "clawd task retry 12")
@click.argument("task", type=ID, metavar="ID")
@click.pass_obj
def retry(session: Session, task: int, as_json: bool) -> None:
    """Start a parked task over, with fresh tries; cut a waiting time short.

    A need that was cancelled or taken back is dropped.
    """
    from clawd import steer  # noqa: PLC0415

    with open_db(session) as db:
        tell(steer.retry_task(db, task), as_json)


@verb("reopen", "clawd task reopen 12")
@click.argument("task", type=ID, metavar="ID")
@click.pass_obj
def reopen(session: Session, task: int, as_json: bool) -> None:
    """Bring a cancelled task back."""
    from clawd import steer  # noqa: PLC0415

    with open_db(session) as db:
        tell(steer.reopen_task(db, task), as_json)


for _verb in (add, list_, show_, edit, cancel, retry, reopen):
    task_command.add_command(_verb)


def task_table(found: list[TaskLine], empty: str) -> None:
    """Tasks in lines."""
    show.table(
        ("id", "state", "title", "waits for", "agent", "cost", "project"),
        [(t.id, t.state, t.title, t.waits_for, t.agent, show.usd(t.cost_micros), t.project)
         for t in found],
        empty,
    )  # fmt: skip


def _spec(text: str | None, file: IO[str] | None) -> str | None:
    if file is not None:
        if text is not None:
            raise click.UsageError("Give --spec or --spec-file, not both.")
        return file.read(2 * 1024 * 1024)
    return None if text is None else text_of(text)
