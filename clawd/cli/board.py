"""The live board: one picture of everything, drawn again and again."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable
from datetime import datetime

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from clawd.cli import show
from clawd.store.views_board import Board

_COLOURS = {
    "backlog": "dim",
    "claimed": "cyan",
    "running": "bold cyan",
    "review": "magenta",
    "merging": "yellow",
    "waiting": "bold yellow",
    "verifying": "green",
    "done": "bold green",
    "parked": "bold red",
    "cancelled": "dim strike",
    "rolled_back": "red",
}
_STORY = ("backlog", "claimed", "running", "review", "merging", "waiting", "verifying", "done")


def render(board: Board, *, title: str = "clawd", note: str = "") -> RenderableType:
    """The board as rich draws it."""
    parts: list[RenderableType] = [_summary(board)]
    for line in _alarms(board):
        parts.append(Text(f"! {line}", style="bold red"))
    parts += [_runs(board), _tasks(board)]
    if board.overview.waiting:
        parts.append(_waiting(board))
    if board.events:
        parts.append(_events(board))
    if note:
        parts.append(Text(show.one_line(note), style="dim"))
    return Panel(Group(*parts), title=Text(show.one_line(title)), box=box.ROUNDED, padding=(0, 1))


def watch(
    take: Callable[[], Board],
    *,
    title: str = "clawd",
    every_s: float = 1.0,
    stop: threading.Event | None = None,
    note: Callable[[], str] = lambda: "",
) -> None:
    """Draws the board until `stop` is set or Ctrl-C."""
    ended = stop or threading.Event()
    console = Console(highlight=False)
    with Live(
        render(take(), title=title, note=note()), console=console, auto_refresh=False
    ) as live:
        while not ended.wait(every_s):
            live.update(render(take(), title=title, note=note()), refresh=True)
        live.update(render(take(), title=title, note=note()), refresh=True)


def svg(board: Board, *, title: str = "clawd", width: int = 110) -> str:
    """The board as a picture that fetches nothing: no fonts from elsewhere."""
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    console.print(render(board, title=title))
    picture = console.export_svg(title=title)
    return re.sub(r"\s*@font-face \{.*?\}", "", picture, flags=re.DOTALL)


def _summary(board: Board) -> Text:
    seen = board.overview
    text = Text()
    for state in (*_STORY, "parked", "rolled_back"):
        number = seen.tasks.get(state, 0)
        if number or state in ("backlog", "running", "review", "done"):
            text.append(f"{number} {state.replace('_', ' ')}", style=_COLOURS[state])
            text.append("  ")
    money = seen.money
    if money.is_set:
        text.append(f"{show.usd(money.spent_micros)} of {show.usd(money.limit_micros)} today")
    return text


def _alarms(board: Board) -> list[str]:
    seen = board.overview
    found = [show.one_line(line) for line in seen.pauses]
    if seen.alarm is not None:
        because = "; ".join(show.one_line(line) for line in seen.alarm.because)
        found.append(f"work ready, no claim for {seen.alarm.minutes} minutes: {because}")
    for project in seen.projects:
        if project.baseline not in ("green", "unknown"):
            found.append(f"{show.one_line(project.slug)}: main is {project.baseline}")
        for problem in (project.landings_held, project.not_followed, project.roadmap_problem):
            if problem:
                found.append(f"{show.one_line(project.slug)}: {show.one_line(problem, 200)}")
    return found


def _grid(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=True, header_style="dim")
    for column in columns:
        wide = column in ("task", "doing", "what")
        table.add_column(column, no_wrap=True, overflow="ellipsis", ratio=1 if wide else None)
    return table


def _runs(board: Board) -> RenderableType:
    runs = board.overview.runs
    if not runs:
        return Text("no agent at work", style="dim")
    table = _grid("agent", "role", "on", "min", "cost", "doing")
    for run in runs:
        on = f"task {run.task}" if run.task else f"goal {run.goal}" if run.goal else "roadmap"
        table.add_row(
            Text(show.one_line(run.agent), style="bold"), run.role, on, f"{run.minutes:.0f}",
            show.usd(run.cost_micros), Text(show.one_line(run.doing or "starting", 200)),
        )  # fmt: skip
    return table


def _tasks(board: Board) -> RenderableType:
    if not board.tasks:
        return Text("no task yet: goals come from ROADMAP.md", style="dim")
    table = _grid("id", "state", "task", "round", "cost", "waits for")
    for task in board.tasks:
        table.add_row(
            str(task.id),
            Text(task.state.replace("_", " "), style=_COLOURS.get(task.state, "")),
            Text(show.one_line(task.title, 200)),
            _counters(task.round, task.bounces, task.tries),
            show.usd(task.cost_micros),
            Text(show.one_line(task.waits_for, 40)),
        )
    return table


def _counters(revises: int, bounces: int, tries: int) -> str:
    parts = [f"{n} {what}" for n, what in
             ((revises, "revise"), (bounces, "bounce"), (tries, "failed")) if n]  # fmt: skip
    return ", ".join(parts)


def _waiting(board: Board) -> RenderableType:
    table = _grid("waits for you", "what", "settle it")
    for ask in board.overview.waiting[:5]:
        about = f"task {ask.task}" if ask.task else f"goal {ask.goal}" if ask.goal else ask.project
        table.add_row(
            Text(show.one_line(about)), Text(show.one_line(ask.question, 200)),
            Text(show.one_line(ask.command)),
        )  # fmt: skip
    return table


def _events(board: Board) -> RenderableType:
    table = Table.grid(padding=(0, 1), expand=True)
    for _ in range(3):
        table.add_column(no_wrap=True, overflow="ellipsis")
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for event in board.events:
        at: datetime = event.at.astimezone()
        table.add_row(
            Text(f"{at:%H:%M:%S}", style="dim"), Text(event.subject.replace(":", " ")),
            Text(event.action.replace("_", " "), style="bold"),
            Text(show.one_line(event.why, 200)),
        )  # fmt: skip
    return table
