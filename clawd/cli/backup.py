"""The commands backup, restore and upgrade."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from clawd.cli import show
from clawd.cli.session import Session, daemon_pid, open_server
from clawd.cli.verbs import verb
from clawd.errors import Refused, UsageError


@dataclass(frozen=True, slots=True)
class Kept:
    """One backup."""

    path: str
    size_bytes: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Backups:
    """Every backup there is, oldest first."""

    backups: list[Kept]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a verb of this module did."""

    verb: str
    said: str
    path: str


@verb("backup", "clawd backup", "clawd backup --list", shape=Backups)
@click.option("--list", "only_list", is_flag=True, help="Show the backups there are.")
@click.pass_obj
def backup_command(session: Session, only_list: bool, as_json: bool) -> None:
    """Back the database up now; the daemon does it once a day by itself.

    Backups lie in the home's folder `backups`, the last seven are kept. A hub is a plain git
    repository: copy `hubs` beside a backup, so that both tell of the same moment.
    """
    from clawd.adapters import dump  # noqa: PLC0415

    folder = session.home / "backups"
    if not only_list:
        with open_server(session) as conninfo:
            dump.dump(conninfo, folder, datetime.now(UTC))
    kept = [_kept(path) for path in dump.dumps(folder)]
    if as_json:
        show.as_json(Backups(kept))
        return
    for one in kept:
        show.line(f"{one.path}  {one.size_bytes:,} bytes")
    if not kept:
        show.line("There is no backup yet. Make one: clawd backup")


@verb("restore", "clawd restore ~/.clawd/backups/clawd-20261121T030000.dump")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def restore_command(session: Session, file: Path, yes: bool, as_json: bool) -> None:
    """Put a backup in the database's place; what was there is kept under another name.

    The daemon must be stopped. What landed after the backup stays on main: the daemon finds it
    there and does not land it again.
    """
    from clawd.adapters import dump  # noqa: PLC0415

    pid = daemon_pid(session.home)
    if pid is not None:
        raise Refused(f"The daemon works (pid {pid}).", "Stop it first: clawd down")
    if not file.expanduser().is_file():
        raise UsageError(f"There is no backup {file}.", "See them: clawd backup --list")
    if not yes and not _agreed(f"Put {file.name} in the place of today's database?"):
        raise UsageError("Nothing was restored.", "Say yes with --yes.")
    with open_server(session) as conninfo:
        before = dump.restore(conninfo, file.expanduser(), datetime.now(UTC))
    said = f"Restored {file.name}; the database of before is kept as {before}."
    _tell(Answer("restore", said, str(file)), as_json)


@verb("upgrade", "clawd upgrade")
@click.pass_obj
def upgrade_command(session: Session, as_json: bool) -> None:
    """Bring a home to this version: backup, migrate, restart; live runs go on meanwhile.

    Install the new clawd first, then run this. A database newer than the program is refused.
    """
    from clawd import config, daemon  # noqa: PLC0415
    from clawd.adapters import dump, postgres  # noqa: PLC0415
    from clawd.store import schema  # noqa: PLC0415

    config.load(session.home)  # what the new daemon could not read stops the old one never
    running = daemon_pid(session.home) is not None
    with open_server(session) as conninfo:
        saved = dump.dump(conninfo, session.home / "backups", datetime.now(UTC))
        if running:
            daemon.stop(session.home, end_runs=False)
        with postgres.connect(conninfo, application_name="clawd upgrade") as db:
            done = schema.migrate(db)
        if running:
            daemon.main(session.home, foreground=False)
    steps = ", ".join(done) if done else "the schema is current"
    state = "the daemon works again" if running else "the daemon was not running"
    _tell(Answer("upgrade", f"Saved {saved.name}; {steps}; {state}.", str(saved)), as_json)


def _agreed(question: str) -> bool:
    return sys.stdin.isatty() and click.confirm(question)


def _kept(path: Path) -> Kept:
    seen = path.stat()
    return Kept(str(path), seen.st_size, datetime.fromtimestamp(seen.st_mtime, UTC))


def _tell(answer: Answer, as_json: bool) -> None:
    if as_json:
        show.as_json(answer)
    else:
        show.line(answer.said)
