"""The commands why, evidence, verify and undo."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import click

from clawd.cli import show
from clawd.cli.session import Session, open_db
from clawd.cli.verbs import ID, tell, verb
from clawd.store.views_money import Proof
from clawd.store.views_why import Story

_AGO = re.compile(r"(\d{1,6})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, slots=True)
class Proofs:
    """Claims and what clawd's own check said of them."""

    evidence: list[Proof]


@dataclass(frozen=True, slots=True)
class Verified:
    """Whether every chain of decisions is whole."""

    ok: bool
    rows: int
    chains: int
    problem: str


class Since(click.ParamType):  # type: ignore[type-arg]
    """A moment: 2h, 3d, or a date."""

    name = "since"

    def convert(self, value: Any, param: Any, ctx: Any) -> datetime:
        if isinstance(value, datetime):
            return value
        text = str(value).strip()
        ago = _AGO.fullmatch(text)
        try:
            if ago:
                span = timedelta(**{_UNITS[ago[2]]: int(ago[1])})
                return datetime.now().astimezone() - span
            return datetime.fromisoformat(text).astimezone()
        except (ValueError, OverflowError):
            self.fail(f"{show.one_line(text, 40)!r} is no moment: say 2h, 3d or 2026-11-20.")


@verb("why", "clawd why 12", "clawd why 12 --json", shape=Story)
@click.argument("task", type=ID, metavar="ID")
@click.pass_obj
def why_command(session: Session, task: int, as_json: bool) -> None:
    """Why task ID is where it is: who asked, who worked, who judged, what was tested.

    Numbers in brackets are rows of lineage, which nobody can change unseen (clawd verify).
    """
    from clawd.store import views_why  # noqa: PLC0415

    with open_db(session) as db:
        found = views_why.why(db, task)
    if as_json:
        show.as_json(found)
        return
    show.heading(f"Task {found.task}  {show.one_line(found.title)}")
    show.line(show.one_line(found.headline))
    show.line()
    for told in found.lines:
        cited = f"  [{', '.join(map(str, told.lineage))}]" if told.lineage else ""
        show.line(f"  {show.when(told.at):<9} {show.one_line(told.text, 600)}{cited}")
    show.line()
    show.line(f"{found.rows} decisions in its chain; check them all: clawd verify")
    if found.state in ("verifying", "done"):
        show.line(f"See what it changed: clawd diff {task}. Take it back: clawd undo {task}")


@verb("evidence", "clawd evidence", "clawd evidence --task 12", "clawd evidence --agent ada "
      "--since 2d --json", shape=Proofs)  # fmt: skip
@click.option("--task", type=ID, metavar="ID", help="Only of this task.")
@click.option("--agent", metavar="NAME", help="Only of this agent's runs.")
@click.option("--kind", metavar="KIND", help="Only of this kind, for example check or landing.")
@click.option("--since", type=Since(), metavar="WHEN", help="2h, 3d or a date.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=200, show_default=True)
@click.pass_obj
def evidence_command(
    session: Session, task: int | None, agent: str | None, kind: str | None,
    since: datetime | None, limit: int, as_json: bool,
) -> None:  # fmt: skip
    """What was claimed and what clawd's own check said of it."""
    from clawd.store import moves, tasks, views_money  # noqa: PLC0415

    with open_db(session) as db:
        if task is not None and tasks.by_id(db, task) is None:
            raise moves.Missing(f"There is no task {task}.", "See them: clawd task list --all")
        found = views_money.proofs(
            db, task=task, since=since, limit=limit,
            agent=None if agent is None else show.clean(agent),
            kind=None if kind is None else show.clean(kind),
        )  # fmt: skip
    if as_json:
        show.as_json(Proofs(found))
        return
    show.table(
        ("id", "at", "task", "run", "agent", "kind", "state", "claim"),
        [(p.id, show.when(p.at), p.task, p.run, p.agent, p.kind, p.state, p.claim)
         for p in found],
        "No evidence matches.",
    )  # fmt: skip


@verb("verify", "clawd verify", "clawd verify --json", shape=Verified)
@click.pass_obj
def verify_command(session: Session, as_json: bool) -> int:
    """Check that no decision was changed, left out or contradicted by the tables.

    Exit code 1 and the first bad row when something does not hold.
    """
    from clawd.store import lineage  # noqa: PLC0415

    with open_db(session) as db:
        problem = lineage.first_bad_row(db)
        heads = lineage.heads(db)
    found = Verified(problem is None, heads["rows"], heads["chains"], problem or "")
    if as_json:
        show.as_json(found)
    elif problem is None:
        show.line(f"{found.rows} decisions in {found.chains} chains: every link holds.")
    else:
        show.line(show.one_line(problem))
        show.line("Compare with a backup made before; who can write the database wrote this.")
    return 0 if found.ok else 1


@verb("undo", "clawd undo 12")
@click.argument("task", type=ID, metavar="ID")
@click.pass_obj
def undo_command(session: Session, task: int, as_json: bool) -> None:
    """Take back what task ID landed.

    A revert is made, tested on today's main and landed like any other change.
    """
    from clawd import steer  # noqa: PLC0415

    with open_db(session) as db:
        tell(steer.undo(db, task), as_json)
