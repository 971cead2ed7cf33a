"""The commands init, run, up, down and restart."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from clawd.cli import show
from clawd.cli.session import Session, daemon_pid, require_own
from clawd.cli.telling import telling
from clawd.cli.verbs import USD, verb
from clawd.errors import NotRunning, UsageError

_STOP_LIMIT_S = 60.0


def _choices(function: Any) -> Any:
    """What `init` asks, each answerable beforehand."""
    for option in (
        click.option("--yes", is_flag=True, help="Take every default; ask nothing."),
        click.option("--prove/--no-prove", default=None,
                     help="Land one tiny task at the end, as a proof; it costs a few cents."),
        click.option("--probe/--no-probe", default=None,
                     help="Try the login with one tiny call to the model."),
        click.option("--sandbox", type=click.Choice(["auto", "none"]),
                     help="`none`: agents run without a cage, with your rights."),
        click.option("--login", type=click.Choice(["token", "key", "inherit", "none"]),
                     help="How agents log in to Claude."),
        click.option("--day", "day_micros", type=USD, metavar="USD",
                     help="The most a day may cost, at list price."),
        click.option("--landing", type=click.Choice(["follow", "branch"]),
                     help="follow: your main moves along; branch: you take it yourself."),
        click.option("--branch", metavar="NAME", help="The main branch (default: found out)."),
        click.option("--setup", "setup_cmd", metavar="COMMAND",
                     help="Installs what the tests need."),
        click.option("--test", "test_cmd", metavar="COMMAND",
                     help="Must succeed before anything lands."),
    ):  # fmt: skip
        function = option(function)
    return function


@verb("init", "clawd init", "clawd init ~/code/shop --test 'make test' --landing branch",
      "clawd init --yes --day 5")  # fmt: skip
@click.argument("path", type=click.Path(path_type=Path), default=".")
@_choices
@click.pass_obj
def init_command(session: Session, /, path: Path, yes: bool, as_json: bool, **choices: Any) -> int:
    """Set clawd up for the repository at PATH, step by step.

    Checks login, cage, set-up, tests on main and the roadmap, and says what each lacks. Safe to
    repeat: what is there is kept. Exit code 1 when something is still missing.
    """
    from clawd import setup  # noqa: PLC0415

    seen = setup.init(
        session.home, path.absolute(), ask=None if as_json else ask,
        say=None if as_json else say, yes=yes or as_json, **_given(choices),
    )  # fmt: skip
    if as_json:
        show.as_json({"ok": seen.ok, "rows": [show.plain(row) for row in seen.rows]})
    return 0 if seen.ok else 1


@verb("run", "clawd run ~/code/shop", "clawd run")
@click.argument("path", type=click.Path(path_type=Path), default=".")
@_choices
@click.pass_obj
def run_command(session: Session, /, path: Path, yes: bool, as_json: bool, **choices: Any) -> int:
    """Work on the repository at PATH in the foreground until Ctrl-C.

    The first time it asks what `clawd init` asks.
    """
    from clawd import daemon  # noqa: PLC0415

    if not _is_ready(session, path.absolute()):
        from clawd import setup  # noqa: PLC0415

        seen = setup.init(
            session.home, path.absolute(), ask=ask, say=say, yes=yes, **_given(choices)
        )
        setup.require_ready(seen)
    show.line("clawd works here until Ctrl-C. In another terminal: clawd status --watch")
    sys.stdout.flush()
    with telling(session):
        code = daemon.main(session.home, foreground=True, say=_progress)
    _stop_database(session)
    return code


@verb("up", "clawd up", "clawd up --foreground")
@click.option("--foreground", is_flag=True, help="Stay in this terminal.")
@click.pass_obj
def up_command(session: Session, foreground: bool, as_json: bool) -> int:
    """Start the daemon; it works until `clawd down`."""
    pid = daemon_pid(session.home)
    if pid is not None and not foreground:
        return _said("up", f"clawd runs already (pid {pid}).", pid, as_json)
    if not session.home.is_dir():
        raise NotRunning(f"There is no clawd at {session.home} yet.", "Set it up: clawd init PATH")
    from clawd import setup  # noqa: PLC0415

    setup.refuse_over_ssh(session.home)
    return _start(session, "up", foreground, as_json)


@verb("down", "clawd down", "clawd down --keep-runs")
@click.option("--keep-runs", is_flag=True, help="Let live runs go on, for a daemon that follows.")
@click.pass_obj
def down_command(session: Session, keep_runs: bool, as_json: bool) -> int:
    """Stop the daemon, its runs and its database; tasks go back to the queue.

    Exit code 3 when it was not running.
    """
    from clawd import daemon, steer  # noqa: PLC0415

    if daemon_pid(session.home) is None:
        ended = 0
        if session.home.is_dir():
            require_own(session.home)
            ended = 0 if keep_runs else steer.end_runs(session.home, "clawd goes down")
            _stop_database(session)  # a command may have left it for the next one
        if not ended:
            raise NotRunning("The daemon is not running.", "Start it: clawd up")
        runs = f"{ended} run{'s' * (ended != 1)}"
        text = f"The daemon was gone already; {runs} it had left behind ended."
        return _said("down", text, None, as_json)
    daemon.stop(session.home, _STOP_LIMIT_S, end_runs=not keep_runs)
    _stop_database(session)
    return _said("down", "clawd is stopped.", None, as_json)


@verb("restart", "clawd restart")
@click.pass_obj
def restart_command(session: Session, as_json: bool) -> int:
    """Stop the daemon and start it again; live runs go on and are picked up.

    A clawd.yaml that cannot be read is said before anything is stopped.
    """
    from clawd import config, daemon  # noqa: PLC0415

    require_own(session.home)
    config.load(session.home)
    if daemon_pid(session.home) is not None:
        daemon.stop(session.home, _STOP_LIMIT_S, end_runs=False)
    return _start(session, "restart", False, as_json)


def _start(session: Session, verb_name: str, foreground: bool, as_json: bool) -> int:
    from clawd import daemon, service  # noqa: PLC0415

    require_own(session.home)
    if not foreground and service.start(session.home):
        pid = daemon_pid(session.home)
        return _said(verb_name, f"clawd works as a service (pid {pid}).", pid, as_json)
    code = daemon.main(session.home, foreground=foreground, say=_progress if foreground else _quiet)
    if code == 0 and not foreground:
        pid = daemon_pid(session.home)
        text = f"clawd works (pid {pid}). Look: clawd status --watch"
        return _said(verb_name, text, pid, as_json)
    return code


def _stop_database(session: Session) -> None:
    if session.database_url is None:
        from clawd.adapters import server  # noqa: PLC0415

        server.stop(session.home)


def _quiet(_text: str) -> None:
    """The answer says it."""


def _progress(text: str) -> None:
    """What takes a moment is said, apart from the answer."""
    click.echo(show.one_line(text), err=True)


def ask(
    question: str, *, default: str = "", choices: Sequence[str] = (), secret: bool = False
) -> str:
    """One question on the terminal; without a terminal the default is the answer."""
    if not sys.stdin.isatty():
        if default:
            return default
        raise UsageError(
            f"There is nobody to ask: {question}", "Answer with an option; see clawd init --help."
        )
    kind = click.Choice(list(choices)) if choices else None
    answer = click.prompt(
        show.one_line(question), default=default, type=kind, hide_input=secret,
        show_default=bool(default) and not secret,
    )  # fmt: skip
    return str(answer)


def say(text: str, ok: bool | None = None) -> None:
    """One line of the check-list, ticked or crossed."""
    mark = "" if ok is None else f"{show.tick(ok)} "
    show.line(mark + show.clean(text))
    sys.stdout.flush()


def _given(choices: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in choices.items() if value is not None}


def _is_known(session: Session, path: Path) -> bool:
    from clawd import config  # noqa: PLC0415

    known = config.load(session.home).projects.values() if session.home.is_dir() else ()
    resolved = path.resolve()
    return any(Path(project.path).expanduser().resolve() == resolved for project in known)


def _is_ready(session: Session, path: Path) -> bool:
    """Known, and nothing that `doctor` sees keeps agents from starting."""
    if not _is_known(session, path):
        return False
    from clawd import doctor  # noqa: PLC0415

    needed = {"cage", "claude", "login", "config"}
    return not any(f.ok is False and f.name in needed for f in doctor.check(session.home))


def _said(verb_name: str, text: str, pid: int | None, as_json: bool) -> int:
    if as_json:
        show.as_json({"verb": verb_name, "said": text, "pid": pid})
    else:
        show.line(text)
    return 0
