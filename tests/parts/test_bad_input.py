"""What careless and hostile hands do to clawd, one test for each thing that once went wrong."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clawd import steer
from clawd.adapters.watch import RoadmapWatch
from clawd.pipeline import breaking, retention, roadmap
from clawd.store import breakers, views
from tests.whole.line import FILES, Line, open_line


@pytest.fixture
def line(home: Path, database: str, make_repo: Callable[..., Path]) -> Iterator[Line]:
    """A line over one small repository, driven by hand."""
    with open_line(home, database, {"sample": make_repo(FILES)}) as opened:
        yield opened


def test_house_keeping_drops_the_refs_of_ended_tasks_and_keeps_the_daemon(line: Line) -> None:
    # `for-each-ref` was asked for "refs/clawd/", which is no ref: the daemon died in five minutes.
    task = line.add("First")
    line.until(task, "done")
    assert line.hub_git("for-each-ref", "refs/clawd")

    line.advance(days=60)
    retention.care(line.desk, line.conninfo)

    assert line.hub_git("for-each-ref", "refs/clawd") == ""
    assert not line.desk.run_folder(line.runs(task)[0].id).exists()
    assert len(list((line.home / "backups").glob("*.dump"))) == 1


def test_house_keeping_that_fails_is_told_and_leaves_the_rest_alone(line: Line) -> None:
    (line.home / "backups").write_text("in the way")
    line.desk.layers.mkdir()

    retention.care(line.desk, line.conninfo)
    retention.care(line.desk, line.conninfo)

    told = line.rows("select body from outbox where dedupe like 'care:%%'")
    assert len(told) == 1
    assert "backup" in told[0]["body"]["text"]


@pytest.mark.parametrize("odd", ["pipe", "device", "folder", "loop"])
def test_a_roadmap_that_is_no_file_is_told_and_the_next_save_is_read(line: Line, odd: str) -> None:
    # Opening a pipe waits for a writer: the planning loop and the watch stood still for ever.
    path = line.repos["sample"] / "ROADMAP.md"
    path.unlink()
    if odd == "pipe":
        os.mkfifo(path)
    elif odd == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if odd == "device" else path)
    seen: list[int] = []
    watch = RoadmapWatch(path, lambda: seen.append(1), debounce_s=0.01)
    try:
        assert "cannot be read" in roadmap.read(line.desk, line.project()).problem
        path.rmdir() if odd == "folder" else path.unlink()
        path.write_text("# Roadmap\n\n- [ ] A goal\n")
        assert watch.poll() or seen
        assert roadmap.read(line.desk, line.project()) == roadmap.Reading(1, "")
    finally:
        watch.stop()


def test_a_goal_is_added_to_a_linked_roadmap_without_replacing_the_link(line: Line) -> None:
    repo = line.repos["sample"]
    (repo / "ROADMAP.md").rename(repo / "notes" / "plan.md")
    (repo / "notes" / "plan.md").write_bytes(b"# Plan\r\n\r\n- [ ] One\r\n")
    (repo / "ROADMAP.md").symlink_to("notes/plan.md")

    with line.desk.db() as db:
        steer.add_goal(db, line.project(), "Two")

    assert (repo / "ROADMAP.md").is_symlink()
    assert (repo / "notes" / "plan.md").read_bytes() == b"# Plan\r\n\r\n- [ ] One\r\n- [ ] Two\r\n"


def test_status_says_that_a_project_rests_after_many_failures(line: Line) -> None:
    # "an idle agent" was all that was shown while three agents stood idle.
    with line.desk.db() as db:
        now = line.desk.now()
        for _ in range(5):
            breakers.note(db, "project", "sample", ok=False, now=now)
        line.add("A thing")
        said = views.overview(db).idle_because
        assert any(because.startswith("project sample rests until") for because in said)
        assert not breaking.may_work(breakers.all_open(db), line.project(), line.desk.now())
        assert steer.resume(db).said == "clawd works again."
        assert breaking.may_work(breakers.all_open(db), line.project(), line.desk.now())


def test_a_probe_whose_run_was_lost_is_made_again(line: Line) -> None:
    # The breaker stood half open for ever: nothing of the project was ever claimed again.
    with line.desk.db() as db:
        for _ in range(5):
            breakers.note(db, "project", "sample", ok=False, now=line.desk.now())
        line.advance(minutes=6)
        breakers.probe(db, [("project", "sample")])
        assert not breaking.may_work(breakers.all_open(db), line.project(), line.desk.now())
        line.advance(minutes=40)
        assert breaking.may_work(breakers.all_open(db), line.project(), line.desk.now())
        breakers.probe(db, [("project", "sample")])
        breakers.note(db, "project", "sample", ok=None, now=line.desk.now())
        assert breaking.may_work(breakers.all_open(db), line.project(), line.desk.now())


def said_by(command: str, home: Path) -> tuple[int, str]:
    """A shell line with clawd in it: exit code, and everything a terminal would show."""
    clawd = f"{shlex.quote(sys.executable)} -m clawd --home {shlex.quote(str(home))}"
    done = subprocess.run(
        ["/bin/sh", "-c", command.replace("CLAWD", clawd)], env={
            "PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2]),
        }, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("command", "code", "sentence"),
    [
        ("CLAWD version >&-", 0, ""),
        ("CLAWD version <&-", 0, "clawd "),
        ("CLAWD status 2>&-", 3, ""),
        pytest.param(
            "CLAWD version >/dev/full", 1, "No space left on device",
            marks=pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it"),
        ),
        ('d=$(mktemp -d) && cd "$d" && rmdir "$d" && CLAWD init', 1, "does not exist any more"),
    ],
)  # fmt: skip
def test_a_terminal_that_is_closed_full_or_nowhere_gets_a_sentence(
    home: Path, command: str, code: int, sentence: str
) -> None:
    home.rmdir()
    try:
        found, said = said_by(command, home)
    finally:
        home.mkdir(exist_ok=True)
    assert found == code, said
    assert sentence in said
    assert "Traceback" not in said
    assert "unexpected" not in said
    assert "ignored" not in said
