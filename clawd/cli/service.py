"""The commands of `clawd service`."""

from __future__ import annotations

import contextlib
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from clawd.cli import show
from clawd.cli.session import Session
from clawd.cli.verbs import verb
from clawd.errors import NotRunning
from clawd.service import Status
from clawd.service.journal import LogLine

if TYPE_CHECKING:
    from clawd.doctor import Finding


@dataclass(frozen=True, slots=True)
class ServiceLog:
    """The last lines of the daemon's log."""

    file: str
    lines: list[LogLine]


@click.group("service")
def service_command() -> None:
    """The service: clawd starts at login and comes back after a crash."""


_probe_option = click.option(
    "--probe", is_flag=True, help="Try the login from inside too, with one tiny call to the model."
)


@verb("install", "clawd service install", "clawd service install --probe")
@_probe_option
@click.pass_obj
def install(session: Session, probe: bool, as_json: bool) -> int:
    """Make clawd a service of this person and start it.

    A LaunchAgent on macOS, systemd user units on Linux. A daemon that runs already hands its runs
    over. Then the login is looked at from inside the service; exit code 1 when agents could not
    log in there. Safe to repeat, and needed after PATH or Python moved.
    """
    from clawd import service  # noqa: PLC0415

    found = service.install(session.home, _progress)
    looked = service.look_inside(session.home, probe=probe)
    return _tell(found, looked, as_json)


@verb("uninstall", "clawd service uninstall")
@click.pass_obj
def uninstall(session: Session, as_json: bool) -> int:
    """Stop the service and its runs and remove it; tasks go back to the queue."""
    from clawd import service  # noqa: PLC0415

    said: list[str] = []
    found = service.uninstall(session.home, said.append)
    _answer("uninstall", " ".join(said), as_json)
    return 0 if found else 1


@verb("restart", "clawd service restart")
@click.pass_obj
def restart(session: Session, as_json: bool) -> None:
    """Stop the daemon in order and start it as the service; live runs go on."""
    from clawd import service  # noqa: PLC0415

    if not service.restart(session.home):
        raise NotRunning("clawd is no service here.", "Make it one: clawd service install")
    found = service.status(session.home)
    _answer("restart", f"The service works (pid {found.pid or found.daemon}).", as_json)


@verb("status", "clawd service status", "clawd service status --look",
      "clawd service status --report | pbcopy", shape=Status)  # fmt: skip
@click.option("--look", is_flag=True, help="Look at the login from inside the service.")
@_probe_option
@click.option("--report", is_flag=True, help="A whole check-list to paste, without secrets.")
@click.pass_obj
def status(session: Session, look: bool, probe: bool, report: bool, as_json: bool) -> int:
    """How the service is.

    With --look or --probe exit code 1 says that agents could not log in there.
    """
    from clawd import service  # noqa: PLC0415

    if report:
        from clawd.service.report import report as write  # noqa: PLC0415

        for line in write(session.home, probe=probe).splitlines():
            show.line(show.clean(line))
        return 0
    looked = service.look_inside(session.home, probe=probe) if look or probe else []
    return _tell(service.status(session.home), looked, as_json)


@verb("logs", "clawd service logs", "clawd service logs -f", "clawd service logs -n 500 --json",
      shape=ServiceLog)  # fmt: skip
@click.option("-n", "--lines", type=click.IntRange(0, 100_000), default=50, show_default=True,
              help="How many of the newest.")  # fmt: skip
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C.")
@click.pass_obj
def logs(session: Session, lines: int, follow: bool, as_json: bool) -> None:
    """What the daemon did, one event a line.

    With --follow and --json each event is a line of its own.
    """
    from clawd.service import journal  # noqa: PLC0415

    folder = session.home / "logs"
    found = journal.last(folder, lines)
    if as_json and not follow:
        show.as_json(ServiceLog(str(folder / journal.NAME), found))
        return
    for line in found:
        _log_line(line, as_json)
    if not found and not follow:
        show.line("The daemon has said nothing yet.")
    words = journal.last_words(folder / "service.log") if lines and not as_json else []
    if words and not follow:
        show.line("Before it had a log, it said last:")
        for word in words:
            show.line(f"  {show.one_line(word, 400)}")
    if follow:
        _follow(session, as_json)


def _follow(session: Session, as_json: bool) -> None:
    from clawd.service import journal  # noqa: PLC0415

    sys.stdout.flush()
    with contextlib.suppress(KeyboardInterrupt):
        for line in journal.follow(session.home / "logs", threading.Event()):
            _log_line(line, as_json)
            sys.stdout.flush()


def _log_line(line: LogLine, as_json: bool) -> None:
    from clawd.service import journal  # noqa: PLC0415

    if as_json:
        import json  # noqa: PLC0415

        show.line(json.dumps(show.plain(line), ensure_ascii=False))
    else:
        show.line(show.one_line(journal.sentence(line)))


def _tell(found: Status, looked: list[Finding], as_json: bool) -> int:
    bad = any(one.ok is False for one in looked)
    if as_json:
        answer = show.plain(found)
        if looked:
            answer["look"] = [show.plain(one) for one in looked]
        show.as_json(answer)
        return 1 if bad else 0
    if found.manager == "none":
        show.line("No service here.")
    else:
        process = f", process {found.pid}" if found.pid else ""
        show.line(f"{found.manager} {found.name}: {found.state}{process}")
        if found.installed:
            show.line(f"  file     {show.one_line(found.file)}")
        if found.detail:
            show.line(f"  detail   {show.one_line(found.detail)}")
        if found.last_exit and found.state != "running":
            show.line(f"  last exit code {found.last_exit}, starts {found.starts}")
    for one in looked:
        show.line(f"  {show.tick(one.ok)} {show.one_line(f'{one.name}: {one.detail}')}")
        if one.ok is not True and one.remedy:
            show.line(f"     {show.one_line(one.remedy)}")
    for line in found.advice:
        show.line(f"  next: {show.one_line(line)}")
    return 1 if bad else 0


def _progress(text: str) -> None:
    click.echo(show.one_line(text), err=True)


def _answer(verb_name: str, text: str, as_json: bool) -> None:
    if as_json:
        show.as_json({"verb": verb_name, "said": text})
    else:
        show.line(show.one_line(text))


for _verb in (install, uninstall, restart, status, logs):
    service_command.add_command(_verb)
