"""Hands in the works at the worst moment: on main, on locks, in workspaces. Landing stays exact."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clawd import loops
from clawd.pipeline import landing
from tests.whole.line import DEV, REVIEW, Line, wait_for

PERSON = ("-c", "user.name=Op", "-c", "user.email=op@example.invalid")


def git(repo: Path, *arguments: str) -> str:
    command = ["git", "-C", str(repo), *PERSON, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.strip()


def landed_once(line: Line, task: int) -> None:
    found = line.rows("select state from landing where task = %s and kind = 'land'", task)
    assert [row["state"] for row in found].count("landed") == 1
    merged = line.hub_git("log", "--merges", "--format=%(trailers:key=Clawd-Task,valueonly)")
    assert merged.split().count(str(task)) == 1


def test_a_landing_that_main_overtook_is_coupled_and_tested_again(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = line.add("Overtaken")
    line.until(task, "merging", stages=(*DEV, *REVIEW))
    intend = landing._intend
    moved: list[str] = []

    def intend_and_be_overtaken(*arguments: Any) -> Any:
        intents = intend(*arguments)
        if not moved:
            tree = line.hub_git("rev-parse", "main^{tree}")
            moved.append(line.hub_git(*PERSON, "commit-tree", tree, "-p", "main", "-m", "mine"))
            line.hub_git("update-ref", "refs/heads/main", moved[0])
        return intents

    monkeypatch.setattr(landing, "_intend", intend_and_be_overtaken)
    line.until(task, "done")
    assert "landing_void" in line.decisions(task)
    assert line.hub_git("merge-base", "--is-ancestor", moved[0], "main") == ""
    landed_once(line, task)
    line.assert_sound()


@pytest.mark.parametrize("from_the_root", [False, True])
def test_your_history_rewritten_takes_nothing_of_what_landed_away(
    line: Line, from_the_root: bool
) -> None:
    if not from_the_root:
        line.commit({"notes/zero.md": "zero\n"})
    first = line.add("Early")
    line.until(first, "done")
    repo = line.repos["sample"]
    before = git(repo, "rev-parse", "HEAD")
    git(repo, "merge", "-q", "--ff-only", "clawd/main")
    git(repo, "reset", "-q", "--hard", before)
    git(repo, "commit", "-q", "--amend", "-m", "another beginning")
    line.commit({"notes/second.md": "by hand\n"})
    after = line.add("After")
    line.until(after, "done")
    assert line.file("notes/early.md") is not None
    assert line.file("notes/second.md") == "by hand\n"
    assert line.file("notes/after.md") is not None
    landed_once(line, first)
    landed_once(line, after)
    line.assert_sound()


def test_a_lock_on_main_is_waited_for_and_one_that_is_old_is_removed(line: Line) -> None:
    task = line.add("Locked")
    line.until(task, "merging", stages=(*DEV, *REVIEW))
    lock = line.home / "hubs" / "sample.git" / "refs" / "heads" / "main.lock"
    lock.write_text("")
    merger = loops.Merge(line.desk, lambda: None)
    line_intent = "select from landing where state = 'intent'"
    wait_for(lambda: (merger.tick(), line.rows(line_intent))[1])
    merger.tick()
    merger.close()
    assert line.task(task).state == "merging"
    assert lock.exists(), "somebody may hold it right now"
    before = time.time() - 600
    os.utime(lock, (before, before))
    line.until(task, "done")
    assert not lock.exists()
    landed_once(line, task)
    line.assert_sound()


def _gone(work: Path) -> None:
    shutil.rmtree(work)


def _without_its_history(work: Path) -> None:
    shutil.rmtree(work / ".git")


def _with_torn_objects(work: Path) -> None:
    for found in (work / ".git" / "objects").rglob("*"):
        if found.is_file():
            found.chmod(0o600)
            found.write_bytes(b"torn")


def _with_a_false_head(work: Path) -> None:
    (work / ".git" / "HEAD").write_bytes(b"\0" * 100)


@pytest.mark.parametrize(
    "spoil", [_gone, _without_its_history, _with_torn_objects, _with_a_false_head]
)
def test_a_workspace_spoilt_under_its_agent_costs_one_try_at_most(
    line: Line, spoil: Callable[[Path], None]
) -> None:
    task = line.add("Spoilt", "[behave: sleep 1.5 first 1]")
    line.dev()
    run = line.runs(task)[0]
    wait_for(lambda: (line.desk.run_folder(run.id) / "stream.jsonl").stat().st_size > 0)
    spoil(line.home / "tasks" / str(task) / f"work-{run.id}")
    line.until(task, "done")
    assert line.task(task).tries <= 1
    landed_once(line, task)
    line.assert_sound()
