"""The command demo, and the two ways it is shown: a live board, or one line an event."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from clawd.cli import show
from clawd.cli.session import Session
from clawd.cli.verbs import Finite, verb
from clawd.demo.summary import Summary

if TYPE_CHECKING:
    from clawd.demo.screen import Step
    from clawd.demo.tale import Proof, TaskTale
    from clawd.store.views_board import Board


@verb("demo", "clawd demo", "clawd demo --pace 0 --json", "clawd --home /tmp/look demo",
      shape=Summary)  # fmt: skip
@click.option("--pace", type=Finite(0, 10), default=1.0, show_default=True,
              help="How slowly the agents work; 0 is as fast as they can.")  # fmt: skip
@click.option("--keep/--no-keep", default=True, show_default=True,
              help="Leave its data afterwards, to look around.")  # fmt: skip
@click.pass_context
def demo_command(ctx: click.Context, pace: float, keep: bool, as_json: bool) -> int:
    """Watch scripted agents work on a sample project: no account, no key, no cost.

    Everything but the agents is the real thing: database, git, cage, tests, merge train. Each demo
    gets a new home (under CLAWD_DEMO_HOME or ~/.clawd-demo); --home names an empty folder instead.
    """
    from clawd import demo  # noqa: PLC0415

    session: Session = ctx.obj
    root = ctx.find_root()
    named = root.params.get("home") or session is not root.obj  # after the verb, or before it
    screen = (Json if as_json else Live if show.is_rich() else Plain)(keep)
    return demo.run(home=session.home if named else None, pace=pace, keep=keep, screen=screen)


class Plain:
    """For pipes: every event is a line."""

    def __init__(self, keep: bool) -> None:
        self._keep = keep

    def say(self, text: str) -> None:
        self._line(show.one_line(text))

    def show(self, _board: Board, steps: Sequence[Step], _note: str) -> None:
        for step in steps:
            why = show.one_line(f"{step.agent + ': ' if step.agent else ''}{step.why}", 110)
            self._line(f"{step.at_s:6.1f} s  {step.subject:8} {step.event:10} {step.state:9} {why}")

    def close(self) -> None:
        return

    def result(self, summary: Summary) -> None:
        print_summary(summary, keep=self._keep)

    def _line(self, text: str) -> None:
        show.line(text)
        sys.stdout.flush()


class Json(Plain):
    """The same on stderr; stdout gets one JSON object."""

    def result(self, summary: Summary) -> None:
        show.as_json(summary)

    def _line(self, text: str) -> None:
        click.echo(text, err=True)


class Live(Plain):
    """For a terminal: the board, drawn again and again."""

    def __init__(self, keep: bool) -> None:
        super().__init__(keep)
        self._live: Any = None

    def show(self, board: Board, _steps: Sequence[Step], note: str) -> None:
        from rich.console import Console  # noqa: PLC0415
        from rich.live import Live as RichLive  # noqa: PLC0415

        from clawd.cli.board import render  # noqa: PLC0415

        picture = render(board, title="clawd demo (scripted agents, no model)", note=note)
        if self._live is None:
            console = Console(file=sys.stdout, highlight=False)
            self._live = RichLive(picture, console=console, auto_refresh=False)
            self._live.start(refresh=True)
        else:
            self._live.update(picture, refresh=True)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _line(self, text: str) -> None:
        if self._live is None:
            super()._line(text)
        else:
            self._live.console.print(text, markup=False, highlight=False)


def print_summary(summary: Summary, *, keep: bool) -> None:
    """The summary for people."""
    show.line()
    show.heading(summary.said)
    for task in summary.tasks:
        _print_task(task)
    lost = [goal for goal in summary.goals if goal.state != "done"]
    if lost:
        show.line()
        for goal in lost:
            reason = f" ({goal.reason})" if goal.reason else ""
            show.line(f"Goal {goal.id} is {goal.state}{reason}: {show.one_line(goal.title)}")
    show.line()
    show.heading("What a team goes through")
    for moment in summary.moments:
        show.line(f"  {_mark(moment.seen)} {moment.what}: {moment.said}")
    show.line()
    show.heading("Held against git and the database once more")
    for finding in summary.findings:
        show.line(f"  {_mark(finding.holds)} {finding.what}: {show.one_line(finding.said)}")
    show.line()
    show.heading(f"main of the sample, {summary.main[:12]}")
    for line in summary.log:
        show.line(f"  {show.one_line(line)}")
    _print_end(summary, keep)


def _print_task(task: TaskTale) -> None:
    show.line()
    show.heading(f"Task {task.id}  {show.one_line(task.title)}")
    agents = ", ".join(task.agents)
    runs = f"{task.runs} run{'s' * (task.runs != 1)}"
    show.line(f"  {task.state}, {show.usd(task.cost_micros)} in {runs} ({agents})")
    if task.happened:
        show.line(f"  {show.sentence('; '.join(task.happened))}")
    if task.proof is not None:
        show.line(f"  Proved by {_proof(task.proof)}")
    elif task.reason:
        show.line(f"  Not done: {task.reason}. {show.one_line(task.action)}")
    show.line(f"  Look: {task.look}")


def _proof(proof: Proof) -> str:
    checks = f"{proof.clauses} clause{'s' * (proof.clauses != 1)} green"
    said = f"{checks} on tree {proof.check_tree[:10]}, verdict {proof.verdict}"
    if not proof.commit:
        return f"{said}; nothing had to change"
    took = f" in {proof.tests_ms / 1000:.1f} s" if proof.tests_ms else ""
    tests = f"tests {proof.tests} on tree {proof.tests_tree[:10]}{took}"
    return f"{said}, {tests}, commit {proof.commit[:10]} on main"


def _print_end(summary: Summary, keep: bool) -> None:
    show.line()
    show.line(
        f"{summary.seconds:.0f} s, {summary.runs} runs, {show.usd(summary.total_micros)} at list "
        "price: nominal, the agents were scripted and no model was called."
    )
    if not keep:
        show.line("Its data is deleted now (--no-keep).")
        return
    show.line("Look around (the data stays):")
    for command in summary.look:
        show.line(f"  {command}")
    show.line(f"Delete it: {summary.delete}")


def _mark(good: bool) -> str:
    if show.is_rich():
        return "\x1b[32m✓\x1b[0m" if good else "\x1b[31m✗\x1b[0m"
    return "ok" if good else "--"
