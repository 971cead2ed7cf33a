"""The demo's summary: what happened, taken from the rows, and held against git once more."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clawd.adapters import postgres, server
from clawd.adapters.git.bare import Bare
from clawd.demo.audit import Finding, audit
from clawd.demo.follow import Ending
from clawd.demo.ground import BRANCH, Ground
from clawd.demo.tale import TaskTale, tell
from clawd.store import views_demo

LATER = ("status", "task list --all", "cost --by task", "verify")


@dataclass(frozen=True, slots=True)
class GoalTale:
    """What became of one item of the roadmap."""

    id: int
    title: str
    state: str
    ticked: bool
    reason: str
    tasks: list[int]


@dataclass(frozen=True, slots=True)
class Moment:
    """Something a team of agents goes through; `seen` is whether it came up this time."""

    what: str
    seen: bool
    said: str


@dataclass(frozen=True, slots=True)
class Summary:
    """How a demo went: `ok` means that the whole roadmap landed and every finding holds."""

    ok: bool
    scripted: bool
    said: str
    home: str
    project: str
    tasks: list[TaskTale]
    goals: list[GoalTale]
    moments: list[Moment]
    findings: list[Finding]
    main: str
    log: list[str]
    runs: int
    most_at_once: int
    total_micros: int
    seconds: float
    look: list[str]
    delete: str


def sum_up(ground: Ground, conninfo: str, ending: Ending, clock: Callable[[], float]) -> Summary:
    """Everything from the database and git as they are now; nothing from what was expected."""
    project = Bare(ground.project / ".git")
    with postgres.connect(conninfo, application_name="clawd demo") as db:
        tasks = tell(db, project, _look(ground))
        goals = [GoalTale(**row) for row in views_demo.goals(db)]
        findings = audit(db, ground, tasks)
        totals = views_demo.totals(db)
    main = project.head(f"refs/heads/{BRANCH}") or ""
    done = bool(goals) and all(goal.state == "done" and goal.ticked for goal in goals)
    return Summary(
        ok=ending.settled and done and all(finding.holds for finding in findings),
        scripted=True,
        said=_said(ending, goals, tasks),
        home=str(ground.home),
        project=str(ground.project),
        tasks=tasks,
        goals=goals,
        moments=_moments(tasks, totals.most_at_once),
        findings=findings,
        main=main,
        log=_log(project, main),
        runs=totals.runs,
        most_at_once=totals.most_at_once,
        total_micros=totals.run_micros,
        seconds=round(clock(), 1),
        look=[f"{_look(ground)} {words}" for words in LATER],
        delete=_delete(ground),
    )  # fmt: skip


def _said(ending: Ending, goals: list[GoalTale], tasks: list[TaskTale]) -> str:
    landed = sum(1 for task in tasks if task.proof is not None and task.proof.commit)
    ticked = sum(1 for goal in goals if goal.state == "done" and goal.ticked)
    text = f"{landed} of {len(tasks)} tasks landed, {ticked} of {len(goals)} goals are done"
    if not ending.settled:
        return f"{text}; {ending.said}."
    left = [str(task.id) for task in tasks if task.state != "done"]
    return f"{text}; not done: task {', '.join(left)}." if left else f"{text}."


def _moments(tasks: list[TaskTale], most: int) -> list[Moment]:
    """What a demo is meant to show; what did not come up this time is said as well."""

    def those(flag: str) -> list[int]:
        return [task.id for task in tasks if flag in task.marks]

    told = [
        Moment("agents at once", most >= 3, f"at most {most} agents worked at the same time"),
        _moment("review", those("revised"), "QA asked for changes on"),
        _moment("sent back", those("bounced"), "the train sent back"),
        _moment("question", those("asked"), "an answer was needed for"),
    ]
    failed, parked = those("failed"), those("parked")
    told += [_moment("failure", failed, "a run failed or was lost on")] if failed else []
    told += [_moment("parked", parked, "a person has to look at")] if parked else []
    return told


def _moment(what: str, tasks: list[int], said: str) -> Moment:
    listed = ", ".join(map(str, tasks))
    return Moment(what, bool(tasks), f"{said} task {listed}" if tasks else "not this time")


def _log(project: Bare, main: str) -> list[str]:
    """Main's own history, newest first: one line a landing."""
    if not main:
        return []
    argv = ["log", "--first-parent", "--format=%h %s", "--max-count=40", main, "--"]
    return project.git(argv).text.splitlines()


def program() -> str:
    """How this user calls clawd, runnable as it stands."""
    own = Path(sys.argv[0])
    if own.name != "clawd":
        return f"{shlex.quote(sys.executable)} -m clawd"
    known = shutil.which("clawd")
    if known is not None and Path(known).resolve() == own.resolve():
        return "clawd"
    path = own.absolute()
    with_cwd = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return shlex.quote(str(with_cwd))


def _look(ground: Ground) -> str:
    return f"{program()} --home {shlex.quote(str(ground.home))}"


def _delete(ground: Ground) -> str:
    """The database of root lies in a place of its own; both go."""
    data = server.status(ground.home).data
    folders = [ground.home]
    if data is not None and not data.is_relative_to(ground.home):
        folders.append(data.parent)
    return "rm -r " + " ".join(shlex.quote(str(folder)) for folder in folders)
