"""`clawd init`: a check-list that sets a home and a repository up, and ticks what is there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from clawd import config as configuration
from clawd import daemon
from clawd.config import Sandbox
from clawd.errors import ClawdError
from clawd.pipeline.desk import Desk
from clawd.setup import home as homes
from clawd.setup import login, mainline, plan, proof, repository, settings, tools
from clawd.setup.checklist import Ask, Checklist, Row, Say
from clawd.setup.choices import Choices
from clawd.setup.proof import prove

__all__ = [
    "Ask",
    "Checklist",
    "Choices",
    "Row",
    "Say",
    "init",
    "prove",
    "refuse_over_ssh",
    "require_ready",
]


def init(
    home: Path,
    path: Path,
    *,
    ask: Ask | None = None,
    say: Say | None = None,
    yes: bool = False,
    choices: Choices | None = None,
    **given: object,
) -> Checklist:
    """Walks the list; what is already there is ticked and kept. `yes` takes every default.

    Raises ClawdError where nothing after it could be done; everything else is a row without a
    tick, with its remedy, and `ok` of the answer is False.
    """
    wanted = choices or Choices.of(given)
    out = Checklist(say, None if yes else ask)
    login.refuse_over_ssh(home, wanted, os.environ, sys.platform)
    homes.prepare(out, home, path)
    with homes.only_one(home):
        settings.write_first(out, home)
        settings.apply(out, home, wanted)
        with daemon.open_desk(home, say=out.note) as desk:
            out.tick("database", "it runs, and its tables are this version's")
            _walk(out, desk, path, wanted)
    return out


def _walk(out: Checklist, desk: Desk, path: Path, wanted: Choices) -> None:
    found = repository.look(out, desk.home, path, wanted)
    binary = tools.check_claude(out, desk.config)
    logged_in = login.check(out, desk, binary, wanted)
    caged = tools.check_cage(out, desk.config)
    settings.check_day(out, desk, wanted)
    slug = plan.project(out, desk, found, wanted, may_run=caged)
    desk.config = configuration.load(desk.home)
    ready = mainline.check(out, desk, slug, may_run=caged)
    plan.roadmap(out, desk, found, slug)
    if binary is not None and logged_in and ready:
        proof.offer(out, desk, slug, wanted)
    _finish(out, desk)


def _finish(out: Checklist, desk: Desk) -> None:
    pid = daemon.is_running(desk.home)
    start = "It works already." if pid else "Start it: clawd up"
    if out.ok:
        out.note(f"Everything is ready. {start}")
    else:
        missing = ", ".join(row.name for row in out.rows if row.ok is False)
        out.note(f"Not ready yet: {missing}. Do what is said there and run `clawd init` again.")
    if desk.config.sandbox is Sandbox.NONE:
        out.note("Agents run without a cage: they can read and change whatever you can.")


def refuse_over_ssh(home: Path) -> None:
    """For whoever starts agents: an error where macOS would hide the login from them."""
    login.refuse_over_ssh(home, Choices(), os.environ, sys.platform)


def require_ready(out: Checklist) -> None:
    """An error for callers that go on to start the daemon."""
    bad = [row for row in out.rows if row.ok is False]
    if bad:
        raise ClawdError(f"{bad[0].name}: {bad[0].detail}", bad[0].remedy)
