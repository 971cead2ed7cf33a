"""`clawd` as a real process: exit codes, pipes, terminals, garbage, a home of its own."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clawd.adapters import postgres, server
from clawd.store import schema
from clawd.store.rows import Db
from tests.parts.cli_ground import Clawd, on_terminal, read_terminal
from tests.parts.steer_ground import World, make_world, whole_story


@pytest.fixture
def clawd(
    database: str, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Clawd:
    return Clawd(home, database, capsys, monkeypatch)


@pytest.fixture
def world(db: Db, tmp_path: Path) -> World:
    return make_world(db, tmp_path)


@pytest.mark.parametrize(
    ("args", "code"),
    [(["--help"], 0), (["status"], 0), (["nope"], 2), (["why", "404"], 4), ([], 0)],
)
def test_exit_codes_reach_the_shell(clawd: Clawd, world: World, args: list[str], code: int) -> None:
    assert clawd.process(*args).code == code


def test_a_home_nobody_set_up_is_not_running(clawd: Clawd, tmp_path: Path) -> None:
    clawd.database = None
    for folder in (tmp_path / "nowhere", tmp_path):
        answer = clawd.process("status", home=folder)
        assert answer.code == 3
        assert "clawd init" in answer.err
        assert not list(tmp_path.iterdir()), "nothing was written there"


def test_a_database_that_is_away_is_said_with_exit_code_3(clawd: Clawd, tmp_path: Path) -> None:
    clawd.database = f"host={tmp_path} dbname=none connect_timeout=2"
    answer = clawd.process("status")
    assert answer.code == 3
    assert "Traceback" not in answer.err
    assert answer.err.count("\n") <= 3


def test_a_database_without_clawd_in_it_is_left_as_it_is(
    clawd: Clawd, postgres_server: server.Server
) -> None:
    clawd.database = postgres_server.conninfo
    answer = clawd.process("status")
    assert answer.code == 3
    assert "nothing of clawd" in answer.err


GARBAGE: list[list[str | bytes]] = [
    ["task", "add", "--", "--help me"],
    ["task", "add", "$(touch owned)`id`;&|<>"],
    ["task", "add", b"\xff\xfe not utf-8"],
    ["task", "add", "ünï 漢字 🎉 \u202etxt.exe"],
    ["task", "add", "x" * 100_000],
    ["task", "add", "two\nlines"],
    ["task", "add", "t", "--spec", "-dash"],
    ["task", "add", "t", "--project", "' or 1=1 --"],
    ["task", "show", "1; drop table task"],
    ["task", "list", "--state", "\x1b[31mred"],
    ["x" * 100_000],
    ["--home", "/dev/null/x", "status"],
    ["--home", "/dev/null", "status"],
    ["evidence", "--agent", "\x1b]0;owned\x07"],
    ["goal", "add", "<!-- id: x --> [link](x) `"],
    ["answer", "1", "--nonsense"],
]


@pytest.mark.parametrize("args", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_never_ends_in_a_traceback(
    clawd: Clawd, world: World, args: list[str | bytes]
) -> None:
    answer = clawd.process(*args)
    assert answer.code in (0, 2, 3, 4), answer
    assert "Traceback" not in answer.err
    assert "unexpected" not in answer.err
    assert "\x1b" not in answer.out + answer.err
    assert len(answer.err) < 2000
    assert not Path("owned").exists()


def test_a_spec_from_stdin_may_hold_anything_but_not_too_much(clawd: Clawd, world: World) -> None:
    fits = clawd.process("task", "add", "t", "--spec", "-", "--json", given=b"a\x00b\xff\n" * 100)
    task = json.loads(fits.out)["id"]
    page = json.loads(clawd.process("task", "show", str(task), "--json").out)
    assert page["contract"]["spec"].startswith("ab\ufffd\n")
    big = clawd.process("task", "add", "t", "--spec-file", "-", given=b"x" * 1024 * 1024)
    assert big.code == 2
    assert "256 KiB" in big.err


def test_a_bug_ends_in_a_sentence_and_a_file_with_the_details(clawd: Clawd, world: World) -> None:
    world.db.execute("alter table approval rename column question to asked_text")
    answer = clawd.process("inbox")
    assert answer.code == 1
    assert "Something unexpected" in answer.err
    assert "Traceback" not in answer.err
    log = next((clawd.home / "logs").glob("crash-*.txt"))
    assert str(log) in answer.err
    assert "Traceback" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_reader_that_leaves_early_is_no_error(clawd: Clawd, world: World) -> None:
    for number in range(50):
        world.task(f"task {number} " + "x" * 150)
    python = shlex.quote(sys.executable)
    command = f"{python} -m clawd task list --limit 100000 | head -1; echo $PIPESTATUS"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=60, check=True,
        env=clawd.environ(), cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "0"


def test_a_terminal_gets_a_table_and_no_color_gets_plain_text(clawd: Clawd, world: World) -> None:
    whole_story(world)
    with on_terminal(clawd, "task", "list") as (line, process):
        colourful = read_terminal(line)
        assert process.wait(timeout=30) == 0
    assert "\x1b[" in colourful
    with on_terminal(clawd, "task", "list", NO_COLOR="1") as (line, process):
        plain = read_terminal(line)
        assert process.wait(timeout=30) == 0
    assert "\x1b" not in plain
    assert "Name the file" in plain


def test_a_hostile_title_steers_no_terminal(clawd: Clawd, world: World) -> None:
    task = world.task("[bold red]x[/] \x1b]0;owned\x07\x1b[2J y").id
    for args in (["task", "list"], ["task", "show", str(task)], ["why", str(task)], ["queue"]):
        with on_terminal(clawd, *args) as (line, process):
            seen = read_terminal(line)
            assert process.wait(timeout=30) == 0
        assert "]0;owned" not in seen
        assert "\x1b[2J" not in seen
    assert "[bold red]x[/]" in clawd.process("task", "list").out


def test_the_board_is_drawn_until_ctrl_c(clawd: Clawd, world: World) -> None:
    whole_story(world)
    with on_terminal(clawd, "status", "--watch") as (line, process):
        seen = b""
        while b"Name the file" not in seen:
            piece = os.read(line, 65536)
            assert piece, seen
            seen += piece
        process.send_signal(signal.SIGINT)
        read_terminal(line)
        assert process.wait(timeout=30) == 130


def test_a_command_starts_the_homes_database_and_the_last_one_stops_it(
    clawd: Clawd, home: Path, tmp_path: Path
) -> None:
    clawd.database = None
    started = server.ensure_running(home)
    with postgres.connect(started.conninfo, application_name="tests") as db:
        schema.migrate(db)
        make_world(db, tmp_path)
    server.stop(home)
    assert clawd.process("status").code == 0
    assert server.find_running(home) is None
    command = [sys.executable, "-m", "clawd", "task", "list"]
    several = [
        subprocess.Popen(command, env=clawd.environ(), stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, cwd=Path(__file__).parents[2])
        for _ in range(3)
    ]  # fmt: skip
    for one in several:
        _, err = one.communicate(timeout=60)
        assert one.returncode == 0, err
    assert server.find_running(home) is None


def test_a_database_that_was_running_is_left_running(clawd: Clawd, home: Path) -> None:
    clawd.database = None
    started = server.ensure_running(home)
    with postgres.connect(started.conninfo, application_name="tests") as db:
        schema.migrate(db)
    assert clawd.process("status").code == 0
    assert server.find_running(home) is not None


def test_kill_works_without_a_database_and_down_says_not_running(clawd: Clawd) -> None:
    clawd.database = None
    answer = clawd.process("kill", "--why", "enough")
    assert answer.code == 0, answer
    assert (clawd.home / "freeze").exists()
    assert clawd.process("down").code == 3


def test_log_tells_what_an_agent_said_and_follows_to_the_end(clawd: Clawd, world: World) -> None:
    task = world.task().id
    run = world.start(task)
    folder = clawd.home / "runs" / str(run.id)
    folder.mkdir(parents=True)
    events = [
        {"type": "system", "subtype": "init", "model": "m", "session_id": "s"},
        {"type": "assistant", "message": {"content": [
            {"type": "text", "text": "I look.\x1b[2J"},
            {"type": "tool_use", "name": "Bash", "input": {"command": "make test"}}]}},
        {"type": "user", "message": {"content": [
            {"type": "tool_result", "content": "2 failed", "is_error": True}]}},
        {"type": "assistant", "message": "nonsense"},
        {"type": "result", "subtype": "success", "total_cost_usd": 0.12, "result": "done"},
    ]  # fmt: skip
    lines = [json.dumps(event).encode() for event in events]
    (folder / "stream.jsonl").write_bytes(b"\n".join([*lines, b"\xff torn", b'{"torn": ']))
    text = clawd.process("log", str(task)).out
    for part in ("started  m session s", "says  I look.", "does  Bash make test",
                 "failed  2 failed", "ended  success, $0.1200: done"):  # fmt: skip
        assert part in text
    assert "\x1b" not in text
    (folder / "result.json").write_text("{}")
    followed = clawd.process("log", "--run", str(run.id), "--follow", "--json").out
    assert [json.loads(row)["kind"] for row in followed.splitlines()][:3] == [
        "started", "says", "does",
    ]  # fmt: skip
