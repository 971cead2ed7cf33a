"""Main under its own tests, three times: green, flaky or red before anybody is blamed."""

from __future__ import annotations

from time import monotonic

from clawd import daemon
from clawd.errors import ClawdError
from clawd.model import Project
from clawd.pipeline import baseline, testing
from clawd.pipeline.desk import Desk
from clawd.pipeline.layer import SetupFailed, ensure
from clawd.setup.checklist import Checklist
from clawd.setup.home import beating
from clawd.store import projects

RUNS = 3
TAIL_LINES = 15
_POLL_S = 0.5
_NOT_KNOWN = "unknown"


def check(out: Checklist, desk: Desk, slug: str, *, may_run: bool) -> bool:
    """The set-up made, main tested; True when work can land."""
    before, project = _enlist(desk, slug)
    if not project.test_cmd:
        out.miss(
            "tests", "there is no test command, so nothing lands",
            f"Set projects.{slug}.test in clawd.yaml, and run `clawd init` again.",
        )  # fmt: skip
        return False
    if not may_run:
        out.miss("tests", "not run: there is no cage to run them in", "See the line `cage`.")
        return False
    running = daemon.is_running(desk.home)
    if running is not None:
        project = _let_daemon(out, desk, project, running)
    else:
        project = _judge(out, desk, project, again=_must_look_again(before, project))
    return report(out, desk, project)


def _enlist(desk: Desk, slug: str) -> tuple[Project | None, Project]:
    with desk.db() as db:
        before = projects.by_slug(db, slug)
        daemon.bring_in_project(db, desk.config, slug)
        after = projects.by_slug(db, slug)
    assert after is not None  # noqa: S101 - just saved
    return before, after


def _must_look_again(before: Project | None, now: Project) -> bool:
    """What is not green may have been mended outside the tree; new commands say something new."""
    if before is None or before.baseline_verdict == _NOT_KNOWN:
        return False
    same = (before.test_cmd, before.setup_cmd) == (now.test_cmd, now.setup_cmd)
    return not same or before.baseline_verdict != "green"


def _judge(out: Checklist, desk: Desk, project: Project, *, again: bool) -> Project:
    if again or project.baseline_verdict == _NOT_KNOWN:
        if project.setup_cmd:
            out.note(f"Set-up: {project.setup_cmd}")
        out.note(f"Tests of main, {RUNS} times: {project.test_cmd}")
    with beating(desk):
        if again:
            with desk.db() as db:
                projects.note(db, project.id, baseline_tree="", baseline_verdict=_NOT_KNOWN)
            _test_afresh(desk, project)
        try:
            return baseline.keep(desk, project, runs=RUNS)
        except ClawdError as error:
            out.miss("tests", error.message, error.remedy or "Run `clawd doctor`.")
            return project


def _test_afresh(desk: Desk, project: Project) -> None:
    """Replaces what is remembered about this tree."""
    hub = desk.hub(project)
    main = hub.head(project.main_ref)
    if main is None:
        return
    try:
        layer = ensure(desk, project, main)
        if not isinstance(layer, SetupFailed):
            testing.judge_tree(desk, project, main, layer, runs=RUNS, fresh=True)
    except testing.Stopped:
        return


def _let_daemon(out: Checklist, desk: Desk, project: Project, pid: int) -> Project:
    """Two who test the same tree at once would tread on each other."""
    out.note(f"The running daemon (process {pid}) tests main: {project.test_cmd}")
    deadline = monotonic() + RUNS * desk.config.test_timeout_of(project.slug)
    while monotonic() < deadline and daemon.is_running(desk.home) is not None:
        with desk.db() as db:
            now = projects.by_id(db, project.id)
        if now is not None and now.baseline_verdict != _NOT_KNOWN:
            return now
        desk.stop.wait(_POLL_S)
    return project


def report(out: Checklist, desk: Desk, project: Project) -> bool:
    """The rows about set-up and tests; True for a green main."""
    verdict, slug = project.baseline_verdict, project.slug
    if verdict == "setup_failed":
        out.miss(
            "set-up", f"`{project.setup_cmd}` failed",
            f"Set projects.{slug}.setup in clawd.yaml right, and run `clawd init` again.",
        )  # fmt: skip
        _show_tail(out, project)
        return False
    if project.setup_cmd and verdict != _NOT_KNOWN:
        out.tick("set-up", f"done once, kept for every workspace: {project.setup_cmd}")
    if verdict == "green":
        out.tick("tests", f"main is green, {RUNS} times of {RUNS}: {project.test_cmd}")
    elif verdict == "flaky":
        out.miss("tests", "main is flaky: the same tree was green and red", remedies(slug))
        _show_tail(out, project)
    elif verdict == "red":
        out.miss("tests", f"main is red: `{project.test_cmd}` fails on it", remedies(slug))
        _show_tail(out, project)
    elif not any(row.name == "tests" and row.ok is False for row in out.rows):
        out.miss("tests", "main could not be tested", "Run `clawd init` again, or `clawd doctor`.")
    return verdict == "green"


def remedies(slug: str) -> str:
    """The two ways out of a main that is not green."""
    return (
        f"Have it mended: clawd task add --project {slug} --mends-main 'Make the tests of main "
        f"green'; or name the tests under projects.{slug}.known_red in clawd.yaml."
    )


def _show_tail(out: Checklist, project: Project) -> None:
    for line in project.baseline_log.rstrip().splitlines()[-TAIL_LINES:]:
        out.note(f"| {line[:200]}")
