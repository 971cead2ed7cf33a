"""The commands status, queue and agents."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import click

from clawd.cli import show
from clawd.cli.session import Session, daemon_pid, gave_up, open_db
from clawd.cli.verbs import verb
from clawd.store.views import Overview
from clawd.store.views_queue import AgentLine, TaskLine


@dataclass(frozen=True, slots=True, kw_only=True)
class Status(Overview):
    """The whole, with what only this machine knows."""

    home: str
    running: bool
    pid: int | None
    killed: bool


@dataclass(frozen=True, slots=True)
class Queue:
    """Tasks in the order agents take them."""

    tasks: list[TaskLine]


@dataclass(frozen=True, slots=True)
class Agents:
    """Everyone who works for you."""

    agents: list[AgentLine]


@verb("status", "clawd status", "clawd status --watch", "clawd status --json | jq .alarm",
      shape=Status)  # fmt: skip
@click.option("--watch", is_flag=True, help="Draw it again and again until Ctrl-C.")
@click.pass_obj
def status_command(session: Session, watch: bool, as_json: bool) -> None:
    """What runs, what waits, what it costs, and what is wrong.

    When work stands ready and nobody takes it, the reasons are listed.
    """
    if watch and not as_json and show.is_rich():
        _watch(session)
        return
    from clawd.store import views  # noqa: PLC0415

    pid = daemon_pid(session.home)
    with open_db(session) as db:
        seen = views.overview(db, daemon=pid is not None)
    found = Status(
        **{field.name: getattr(seen, field.name) for field in dataclasses.fields(seen)},
        home=str(session.home),
        running=pid is not None,
        pid=pid,
        killed=(session.home / "freeze").exists(),
    )
    if as_json:
        show.as_json(found)
    else:
        _print_status(found)


def _watch(session: Session) -> None:
    from clawd.cli import board  # noqa: PLC0415 - rich, only here
    from clawd.store import views_board  # noqa: PLC0415

    with open_db(session) as db:
        board.watch(
            lambda: views_board.board(db, daemon=daemon_pid(session.home) is not None),
            title=f"clawd  {session.home}",
            note=lambda: _daemon_line(session.home) + "  Ctrl-C leaves",
        )


def _daemon_line(home: Path) -> str:
    pid = daemon_pid(home)
    if pid:
        return f"daemon runs (pid {pid})"
    return f"daemon {'gave up' if gave_up(home) else 'is not running'} (clawd up)"


def _print_status(found: Status) -> None:
    show.heading(f"clawd: {_daemon_line(Path(found.home))}, home {found.home}")
    if found.pid is None and (said := gave_up(Path(found.home))):
        show.line(show.one_line(said, 400))
    if found.killed:
        show.line("The kill switch is set: nothing starts until `clawd resume`.")
    for pause in found.pauses:
        show.line(f"Paused: {show.one_line(pause)}")
    tasks = ", ".join(f"{n} {state.replace('_', ' ')}" for state, n in found.tasks.items() if n)
    goals = ", ".join(f"{n} {state}" for state, n in found.goals.items() if n)
    show.line(f"tasks  {tasks or 'none'}")
    show.line(f"goals  {goals or 'none'}")
    money = found.money
    if money.is_set:
        show.line(f"money  {show.usd(money.spent_micros)} spent and "
                  f"{show.usd(money.reserved_micros)} reserved of "
                  f"{show.usd(money.limit_micros)} on {money.period}")  # fmt: skip
    for project in found.projects:
        held = f"; landings held: {show.one_line(project.landings_held, 200)}"
        behind = f"; your checkout does not follow: {show.one_line(project.not_followed, 200)}"
        problem = f"; ROADMAP.md: {show.one_line(project.roadmap_problem, 200)}"
        show.line(f"main   {show.one_line(project.slug)} is {project.baseline}"
                  + (held if project.landings_held else "")
                  + (behind if project.not_followed else "")
                  + (problem if project.roadmap_problem else ""))  # fmt: skip
    _print_work(found)
    _print_trouble(found)


def _print_work(found: Status) -> None:
    if found.runs:
        show.line()
        show.table(
            ("agent", "role", "on", "title", "minutes", "cost", "doing"),
            [(r.agent, r.role, _subject(r.task, r.goal), show.one_line(r.title, 60),
              f"{r.minutes:.0f}", show.usd(r.cost_micros), show.one_line(r.doing, 80))
             for r in found.runs],
        )  # fmt: skip
    if found.waiting:
        show.line()
        show.table(
            ("waits for you", "about", "question", "settle it"),
            [(w.kind, _subject(w.task, w.goal), show.one_line(w.question, 100), w.command)
             for w in found.waiting],
        )  # fmt: skip
    if found.stopped:
        show.line()
        show.table(
            ("stopped", "title", "reason", "whose turn", "next"),
            [(f"{s.kind} {s.id}", show.one_line(s.title, 60), s.reason, s.owner,
              show.one_line(s.action, 80)) for s in found.stopped],
        )  # fmt: skip


def _print_trouble(found: Status) -> None:
    if found.alarm is not None:
        show.line()
        show.heading(
            f"Work ready ({found.alarm.ready}), no claim for {found.alarm.minutes} minutes, because"
        )
        for because in found.alarm.because:
            show.line(f"  - {show.one_line(because)}")
    elif not found.runs and found.idle_because:
        show.line()
        show.line("Nothing is claimed now: " + "; ".join(map(show.one_line, found.idle_because)))


def _subject(task: int | None, goal: int | None) -> str:
    return f"task {task}" if task else f"goal {goal}" if goal else "roadmap"


@verb("queue", "clawd queue", "clawd queue --json | jq '.tasks[0]'", shape=Queue)
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.pass_obj
def queue_command(session: Session, limit: int, as_json: bool) -> None:
    """What is under way and what comes next, and what each task waits for."""
    from clawd.cli.tasks import task_table  # noqa: PLC0415
    from clawd.store import views_queue  # noqa: PLC0415

    with open_db(session) as db:
        found = views_queue.queue(db, limit)
    if as_json:
        show.as_json(Queue(found))
        return
    task_table(found, "The queue is empty. Goals come from ROADMAP.md, tasks from goals.")


@verb("agents", "clawd agents", "clawd agents --json", shape=Agents)
@click.option("--all", "everything", is_flag=True, help="Removed ones too.")
@click.pass_obj
def agents_command(session: Session, everything: bool, as_json: bool) -> None:
    """Who works for you: role, tier, what they do now and what they did."""
    from clawd.store import views_queue  # noqa: PLC0415

    with open_db(session) as db:
        found = views_queue.agents(db, everything=everything)
    if as_json:
        show.as_json(Agents(found))
        return
    show.table(
        ("name", "role", "tier", "state", "on", "runs", "completed", "failed", "cost", "doing"),
        [(a.name, a.role, ", ".join(f"{t} ({p})" for p, t in sorted(a.tiers.items())) or "intern",
          a.state, f"task {a.task}" if a.task else f"run {a.run}" if a.run else "idle", a.runs,
          a.completed, a.failed, show.usd(a.cost_micros), show.one_line(a.doing, 60))
         for a in found],
        "No agent yet; `clawd up` makes those of clawd.yaml.",
    )  # fmt: skip
