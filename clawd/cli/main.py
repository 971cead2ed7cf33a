"""The `clawd` command: its list of verbs, and one place where every error becomes a sentence."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from clawd import __version__
from clawd.cli.lazy import Entry, LazyGroup
from clawd.cli.session import Session

SECTIONS = {
    "Start and stop": {
        "init": Entry("starting", "Set clawd up for a repository, step by step."),
        "run": Entry("starting", "Work on a repository in the foreground until Ctrl-C."),
        "demo": Entry("demo", "Watch scripted agents work on a sample project."),
        "up": Entry("starting", "Start the daemon."),
        "down": Entry("starting", "Stop the daemon, its runs and its database."),
        "restart": Entry("starting", "Stop the daemon and start it again; no run is lost."),
        "service": Entry("service", "Start at login, come back after a crash."),
        "pause": Entry("power", "No new work and no landings; live runs go on."),
        "resume": Entry("power", "Lift a pause or the kill switch."),
        "kill": Entry("power", "End every agent now."),
    },
    "See": {
        "status": Entry("looking", "What runs, what waits, what it costs, what is wrong."),
        "queue": Entry("looking", "What is under way and what comes next."),
        "agents": Entry("looking", "Who works for you, and on what."),
        "cost": Entry("money", "What was spent, by day, task, role, agent, project or model."),
        "log": Entry("transcripts", "What an agent said and did."),
        "diff": Entry("transcripts", "What a task changed."),
    },
    "Work": {
        "goal": Entry("goals", "The items of ROADMAP.md: list, show, add, reopen."),
        "task": Entry("tasks", "Tasks: add, list, show, edit, cancel, retry, reopen."),
        "project": Entry("projects", "Repositories under care: list, pause, resume."),
        "budget": Entry("money", "Limits of money: show and set."),
    },
    "Decide": {
        "inbox": Entry("inbox", "What waits for you."),
        "notices": Entry("inbox", "What clawd told you: landings, alarms."),
        "answer": Entry("inbox", "Answer a question."),
        "approve": Entry("inbox", "Say yes to what was asked."),
        "reject": Entry("inbox", "Say no to what was asked."),
        "undo": Entry("proof", "Take back what a task landed."),
    },
    "Prove": {
        "why": Entry("proof", "Why a task is where it is, with the decisions that led there."),
        "evidence": Entry("proof", "What was claimed and what clawd checked itself."),
        "verify": Entry("proof", "Check that no decision was changed or left out."),
        "doctor": Entry("health", "What is well, what is not, and what to do about it."),
        "backup": Entry("backup", "Back the database up, or list the backups."),
        "restore": Entry("backup", "Put a backup in the database's place."),
        "upgrade": Entry("backup", "Bring a home to this version; no run is lost."),
        "config": Entry("health", "Show the configuration and where it is."),
        "version": Entry("health", "Which clawd this is."),
    },
}

EPILOG = """\
\b
Examples:
  clawd demo                  see it work, without an account
  clawd run ~/code/shop       let it work on your own repository
  clawd status --watch        keep an eye on it
  clawd why 12                why task 12 is where it is

\b
Exit codes: 0 ok, 1 the answer is no, 2 usage, 3 not running, 4 refused.
Environment: CLAWD_HOME, CLAWD_DATABASE_URL, NO_COLOR.
"""


@click.group(
    cls=LazyGroup,
    sections=SECTIONS,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    subcommand_metavar="COMMAND ...",
)
@click.option("--home", metavar="PATH", help="Where clawd keeps its data (default ~/.clawd).")
@click.version_option(__version__, prog_name="clawd", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context, home: str | None) -> None:
    """A daemon that runs teams of coding agents on your repositories and proves what they did."""
    ctx.obj = Session.of(home, os.environ)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; whatever happens ends in an exit code and at most a sentence."""
    _make_streams_safe()
    session: list[Session] = []
    try:
        code = _run(argv, session)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _close_quietly()
        return 0
    except Exception as error:
        _drop_unsaid()
        from clawd.cli.failure import explain  # noqa: PLC0415 - only when something failed

        given = list(sys.argv[1:] if argv is None else argv)
        return explain(
            error, session[0].home if session else None, as_json="--json" in given,
            named=any(word == "--home" or word.startswith("--home=") for word in given),
        )  # fmt: skip


def _run(argv: Sequence[str] | None, session: list[Session]) -> int:
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        with cli.make_context("clawd", args) as ctx:
            session.append(Session.of(ctx.params.get("home"), os.environ))
            result = cli.invoke(ctx)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # click before 8.2 has no such name
            error.show(sys.stdout)
            return 0
        short = _short(error.format_message())
        click.UsageError(short, error.ctx).show(sys.stderr)
        if "--json" in args:
            from clawd.cli.failure import say_json  # noqa: PLC0415 - only when something failed

            say_json(short, "", 2)
        return 2
    except click.ClickException as error:
        error.show(sys.stderr)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt, EOFError):
        click.echo("", err=True)
        return 130


def _short(text: str) -> str:
    """A megabyte of argument is not echoed back whole, nor are its control characters."""
    from clawd.cli.show import one_line  # noqa: PLC0415 - only when something failed

    return one_line(text, 400)


def _make_streams_safe() -> None:
    for name in ("stdin", "stdout", "stderr"):  # None when the caller closed it
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r+", encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _drop_unsaid() -> None:
    """What a full disk did not take is not tried, and complained about, once more at the end."""
    try:
        sys.stdout.flush()
    except OSError:
        _close_quietly()


def _close_quietly() -> None:
    """The reader is gone; Python's own flush at exit must not complain about it."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
