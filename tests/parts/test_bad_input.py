"""What careless and hostile hands do to clawd, one test for each thing that once went wrong."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clawd import config, daemon, steer
from clawd.adapters.watch import RoadmapWatch
from clawd.doctor import state
from clawd.pipeline import breaking, retention, roadmap
from clawd.running import launch
from clawd.store import breakers, projects, views, views_queue
from tests.whole import small_disk
from tests.whole.line import FILES, Line, daemon_thread, open_line, wait_for


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
        ["/bin/sh", "-c", re.sub(r"\bCLAWD\b", lambda _: clawd, command)], env={
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


@pytest.mark.parametrize(
    ("command", "code", "sentence"),
    [
        ("CLAWD pause --hours nan", 2, "is no number"),
        ("CLAWD demo --pace inf", 2, "not in the range"),
        ("CLAWD_DATABASE_URL=garbage CLAWD status", 2, "is no address of a database"),
        ("CLAWD restore /etc/nothing </dev/null", 2, "There is no backup"),
        ("CLAWD restore /etc/passwd </dev/null", 2, "Say yes with --yes"),
        ("CLAWD evidence --task 999", 3, "There is no clawd"),
    ],
)
def test_an_odd_value_gets_one_sentence(
    tmp_path: Path, command: str, code: int, sentence: str
) -> None:
    found, said = said_by(command, tmp_path / "home")
    assert (found, "Traceback" in said, "unexpected" in said) == (code, False, False), said
    assert sentence in said


@pytest.mark.parametrize("command", ["status --json", "why 99 --json", "nonsense --json"])
def test_a_failure_is_json_too_when_json_was_asked_for(tmp_path: Path, command: str) -> None:
    code, said = said_by(f"CLAWD {command} 2>/dev/null", tmp_path / "home")
    told = json.loads(said)
    assert set(told) == {"error", "remedy", "exit_code"}
    assert told["exit_code"] == code != 0
    assert told["error"]


def test_a_remedy_names_the_home_that_was_named(tmp_path: Path) -> None:
    home = tmp_path / "my home"
    _, said = said_by("CLAWD up", home)
    assert f"clawd --home '{home}' init PATH" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for somebody else")
def test_a_home_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    home = tmp_path / "theirs"
    home.mkdir(mode=0o700)
    os.chown(home, 65534, 65534)
    for command in ("up", "restart", "down", "status"):
        code, said = said_by(f"CLAWD {command}", home)
        assert code in (3, 4), said
        assert "Traceback" not in said
        assert "unexpected" not in said
    assert list(home.iterdir()) == []


def test_the_kill_switch_works_on_a_disk_that_is_full(home: Path) -> None:
    with small_disk.mounted(home):
        small_disk.fill(home)
        code, said = said_by("CLAWD kill", home)
        assert code == 0, said
        assert (home / "freeze").exists()
        assert [path.name for path in home.glob(".freeze*")] == []


def test_a_restart_with_a_broken_clawd_yaml_stops_nothing(line: Line) -> None:
    with daemon_thread(line) as running, (line.home / "daemon.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("1")
        lock.flush()
        with (line.home / "clawd.yaml").open("a") as file:
            file.write("nonsense: 1\n")
        for command in ("restart", "upgrade"):
            code, said = said_by(f"CLAWD {command}", line.home)
            assert code == 2, said
            assert "nonsense" in said
        assert not running.desk.stop.is_set()


def test_down_ends_the_runs_that_a_dead_daemon_left(line: Line) -> None:
    task = line.add("Left", "[behave: hang]")
    line.dev()
    run = line.runs(task)[0]
    wait_for(lambda: isinstance(launch.look(line.desk.run_folder(run.id)), launch.Alive))
    code, said = said_by("CLAWD down", line.home)
    assert code == 0, said
    assert "1 run it had left behind ended" in said
    assert isinstance(launch.look(line.desk.run_folder(run.id)), launch.Ended)
    line.settle()
    assert (line.task(task).state, line.task(task).tries) == ("backlog", 0)


def test_a_repository_that_is_gone_gets_no_more_work_until_it_is_back(line: Line) -> None:
    task = line.add("Later")
    repo = line.repos["sample"]
    repo.rename(repo.with_name("moved"))
    line.merge()
    assert line.dev() == 0
    with line.desk.db() as db:
        because = views.overview(db).idle_because
    assert any("the repository cannot be read" in line for line in because), because
    repo.with_name("moved").rename(repo)
    line.merge()
    line.until(task, "done")


def test_the_queue_says_whose_files_a_task_waits_for(line: Line) -> None:
    first = line.add("First", "[behave: hang]", scope=("notes/a.md",))
    second = line.add("Second", scope=("notes/a.md",))
    line.dev()
    with line.desk.db() as db:
        waits = {row.id: row.waits_for for row in views_queue.queue(db)}
        assert waits[second] == f"task {first} (the same files)"
        steer.pause(db)
        waits = {row.id: row.waits_for for row in views_queue.queue(db)}
    assert waits[second] == "clawd resume"


def test_a_project_that_the_configuration_drops_rests_until_it_is_named_again(line: Line) -> None:
    kept = config.load(line.home)
    with line.desk.db() as db:
        daemon.bring_in(db, dataclasses.replace(kept, projects={}))
        assert projects.active(db) == []
        daemon.bring_in(db, kept)
        assert [project.slug for project in projects.active(db)] == ["sample"]


def test_a_part_that_keeps_failing_is_named_when_the_daemon_gives_up(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_self: object) -> float:
        raise RuntimeError("the cat sat on it")

    monkeypatch.setattr("clawd.loops.Merge.tick", broken)
    with daemon_thread(line) as running:
        wait_for(running.gave_up.is_set, 30)
    assert "part merge failed 5 times" in daemon.last_words(line.home).read_text()
    told = line.rows("select body from outbox where level = 'needs_you'")
    assert any("the cat sat on it" in row["body"]["text"] for row in told)
    assert any("the cat sat on it" in f.detail for f in state.daemon_works(line.home))
