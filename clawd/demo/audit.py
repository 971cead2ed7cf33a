"""Holds the demo's outcome against git once more: nothing in the summary rests on a row alone."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clawd.adapters.git.bare import Bare
from clawd.adapters.git.command import run
from clawd.demo.ground import BRANCH, OPERATOR, SLUG, TEST_COMMAND, Ground
from clawd.demo.tale import TaskTale
from clawd.errors import ClawdError
from clawd.policy import roadmap
from clawd.policy.budget import usd
from clawd.store import lineage, views_demo
from clawd.store.rows import Db

MAIN = f"refs/heads/{BRANCH}"
TESTS_LIMIT_S = 120


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, whether it holds, and what was seen."""

    what: str
    holds: bool
    said: str


def audit(db: Db, ground: Ground, tasks: list[TaskTale]) -> list[Finding]:
    """Every check there is; one that cannot be made counts as one that does not hold."""
    git = Bare(ground.project / ".git")
    looks: list[tuple[str, Callable[[], tuple[bool, str]]]] = [
        ("landed commits are on main", lambda: _ancestors(git, tasks)),
        ("each landing is on main once", lambda: _once(git, tasks)),
        ("every done task has its proof", lambda: _proven(db, tasks)),
        ("every tip main had was tested green", lambda: _tested_tips(db, git)),
        ("clawd's main is the sample's main", lambda: _same_main(git, ground)),
        ("main's own tests are green now", lambda: _tests_now(git)),
        ("the roadmap's boxes say what is done", lambda: _boxes(db, git)),
        ("every amount is in the ledger", lambda: _money(db)),
        ("the decisions are whole (clawd verify)", lambda: _chains(db)),
    ]
    return [_look(what, look) for what, look in looks]


def _look(what: str, look: Callable[[], tuple[bool, str]]) -> Finding:
    try:
        return Finding(what, *look())
    except (ClawdError, OSError, subprocess.SubprocessError) as error:
        return Finding(what, False, f"could not be looked at: {error}")


def _landed(tasks: list[TaskTale]) -> dict[int, str]:
    return {t.id: t.proof.commit for t in tasks if t.proof is not None and t.proof.commit}


def _ancestors(git: Bare, tasks: list[TaskTale]) -> tuple[bool, str]:
    main = git.resolve(MAIN)
    missing = [
        task.id
        for task in tasks
        if task.proof is not None
        and task.proof.commit
        and not (
            git.is_ancestor(task.proof.commit, main) and git.is_ancestor(task.proof.candidate, main)
        )
    ]
    return _answer(missing, f"{len(_landed(tasks))} of {len(tasks)} tasks landed, all found")


def _once(git: Bare, tasks: list[TaskTale]) -> tuple[bool, str]:
    """The trailers of main's first-parent history name every landed task, and each once."""
    form = "--format=%(trailers:key=Clawd-Task,valueonly,separator=%x2C)"
    named = git.git(["log", "--first-parent", form, git.resolve(MAIN), "--"]).text.split()
    landed = _landed(tasks)
    wrong = [task for task in landed if named.count(str(task)) != 1]
    wrong += [int(task) for task in set(named) if task.isdecimal() and int(task) not in landed]
    return _answer(wrong, f"{len(named)} landings, {len(set(named))} tasks")


def _proven(db: Db, tasks: list[TaskTale]) -> tuple[bool, str]:
    """Green clauses, a pass on that very patch, and green tests on the very tree that landed."""
    wrong = []
    for task in tasks:
        proof = task.proof
        if task.state != "done":
            continue
        reviewed = proof is not None and views_demo.holds(db, task.id, proof.verdict)
        tested = proof is not None and (proof.tests == "green" or not proof.commit)
        if proof is None or not (proof.clauses and reviewed and tested):
            wrong.append(task.id)
    done = sum(1 for task in tasks if task.state == "done")
    return _answer(wrong, f"{done} tasks: check, review and tests")


def _tested_tips(db: Db, git: Bare) -> tuple[bool, str]:
    """Of commits the operator made in a row, main only ever stood at the newest."""
    argv = ["log", "--first-parent", "--format=%H %T %cn", git.resolve(MAIN), "--"]
    commits = [line.split(" ", 2) for line in git.git(argv).text.splitlines()]
    theirs = [name == OPERATOR.name for _, _, name in commits]
    tips = [row for at, row in enumerate(commits) if not (at and theirs[at] and theirs[at - 1])]
    green = views_demo.green_trees(db)
    wrong = [commit[:12] for commit, tree, _ in tips if tree not in green]
    return not wrong, f"untested: {', '.join(wrong)}" if wrong else f"{len(tips)} tips"


def _same_main(git: Bare, ground: Ground) -> tuple[bool, str]:
    hub = Bare(ground.home / "hubs" / f"{SLUG}.git").resolve(MAIN)
    theirs = git.resolve(MAIN)
    return hub == theirs, f"{theirs[:12]}" + ("" if hub == theirs else f", clawd has {hub[:12]}")


def _tests_now(git: Bare) -> tuple[bool, str]:
    """A fresh checkout of main, and the sample's test command in it, once."""
    with tempfile.TemporaryDirectory(prefix="clawd-demo-main-") as folder:
        tree, index = Path(folder, "tree"), Path(folder, "index")
        tree.mkdir()
        main = git.resolve(MAIN)
        run(["read-tree", main], git_dir=git.path, index=index)
        prefix = f"--prefix={tree}/"
        run(["checkout-index", "--all", prefix], git_dir=git.path, index=index)
        done = subprocess.run(
            ["/bin/sh", "-c", TEST_COMMAND], cwd=tree, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, errors="replace", timeout=TESTS_LIMIT_S, check=False,
        )  # fmt: skip
    last = (done.stdout + done.stderr).strip().splitlines()[-1:] or [""]
    return done.returncode == 0, f"{TEST_COMMAND} on {main[:12]}: {last[0][:100]}"


def _boxes(db: Db, git: Bare) -> tuple[bool, str]:
    """Ticked on main are the goals that are done, and no others."""
    raw = git.read(git.resolve(MAIN), "ROADMAP.md") or b""
    boxes = {item.title: item.done for item in roadmap.parse(roadmap.decode(raw)).items}
    wrong = [
        goal["title"]
        for goal in views_demo.goals(db)
        if boxes.get(goal["title"]) != (goal["state"] == "done")
    ]
    ticked = sum(boxes.values())
    return not wrong, "; ".join(wrong) or f"{ticked} of {len(boxes)} are ticked"


def _money(db: Db) -> tuple[bool, str]:
    sums = views_demo.totals(db)
    same = sums.run_micros == sums.ledger_micros == sums.day_micros
    said = f"runs {usd(sums.run_micros)}, ledger {usd(sums.ledger_micros)}, "
    said += f"day {usd(sums.day_micros)}, still reserved {usd(sums.reserved_micros)}"
    return same and sums.reserved_micros == 0, said


def _chains(db: Db) -> tuple[bool, str]:
    problem = lineage.first_bad_row(db)
    heads = lineage.heads(db)
    return problem is None, problem or f"{heads['rows']} decisions in {heads['chains']} chains"


def _answer(wrong: list[int], said: str) -> tuple[bool, str]:
    return not wrong, f"not so: task {', '.join(map(str, wrong))}" if wrong else said
