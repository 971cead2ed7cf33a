"""Every command: its help, its JSON keys, its exit codes, in this process."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from clawd.cli import reference, show
from clawd.cli.main import SECTIONS, cli
from clawd.cli.verbs import Verb
from clawd.store.rows import Db
from tests.parts.cli_ground import Clawd
from tests.parts.steer_ground import World, make_world, whole_story

EVERYTHING = reference.everything()
VERBS = [(path, command) for path, command in EVERYTHING if isinstance(command, Verb)]
# What a read command is asked here, where it needs an argument; three need more than a database.
ARGUMENTS = {
    "clawd task show": ["1"],
    "clawd goal show": ["1"],
    "clawd why": ["1"],
    "clawd log": ["1"],
}
ELSEWHERE = {"clawd doctor", "clawd diff", "clawd demo"}
READS = [(path, verb) for path, verb in VERBS if verb.shape and path not in ELSEWHERE]


@pytest.fixture
def clawd(
    database: str, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Clawd:
    return Clawd(home, database, capsys, monkeypatch)


@pytest.fixture
def world(db: Db, tmp_path: Path) -> World:
    return make_world(db, tmp_path)


@pytest.fixture
def told(world: World) -> dict[str, int]:
    return whole_story(world)


@pytest.mark.parametrize(("path", "command"), VERBS, ids=[path for path, _ in VERBS])
def test_the_help_of_every_command_has_an_example_and_says_what_it_does(
    path: str, command: Verb, clawd: Clawd
) -> None:
    answer = clawd(*path.split()[1:], "--help")
    assert answer.code == 0
    assert command.help
    assert command.examples, path
    for example in command.examples:
        assert "clawd" in example
        assert example in answer.out
    assert "--json" in answer.out


@pytest.mark.parametrize("name", [name for part in SECTIONS.values() for name in part])
def test_the_list_of_commands_names_each_that_is_there(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.name == name


@pytest.mark.parametrize(("path", "command"), READS, ids=[path for path, _ in READS])
def test_json_of_every_read_command_has_the_documented_keys(
    path: str, command: Verb, clawd: Clawd, told: dict[str, int]
) -> None:
    answer = clawd(*path.split()[1:], *ARGUMENTS.get(path, []), "--json")
    assert answer.code == 0, answer.err
    assert command.shape is not None
    assert list(json.loads(answer.out)) == show.keys_of(command.shape)
    assert answer.err == ""


@pytest.mark.parametrize(("path", "command"), READS, ids=[path for path, _ in READS])
def test_every_read_command_also_speaks_plain_text(
    path: str, command: Verb, clawd: Clawd, told: dict[str, int]
) -> None:
    answer = clawd(*path.split()[1:], *ARGUMENTS.get(path, []))
    assert answer.code == 0, answer.err
    assert answer.out.strip()
    assert "\x1b" not in answer.out


def test_money_is_told_twice_and_times_are_iso(clawd: Clawd, told: dict[str, int]) -> None:
    seen = json.loads(clawd("status", "--json").out)
    run = seen["runs"][0]
    assert run["cost_usd"] == run["cost_micros"] / 1_000_000 == 0.12
    assert run["since"].endswith("+00:00")


def test_status_says_what_runs_waits_and_stands_still(clawd: Clawd, told: dict[str, int]) -> None:
    text = clawd("status").out
    assert "daemon is not running" in text
    assert "Name the file" in text
    assert "clawd answer 1 'TEXT'" in text
    assert "Read `clawd log`" in text


def test_an_idle_quarter_of_an_hour_is_told_with_its_reasons(clawd: Clawd, world: World) -> None:
    world.task()
    world.db.execute("update task set queued_at = now() - interval '20 minutes'")
    clawd("pause", "--why", "lunch")
    alarm = json.loads(clawd("status", "--json").out)["alarm"]
    assert alarm["ready"] == 1
    assert alarm["minutes"] == 20
    assert any("lunch" in because for because in alarm["because"])
    assert any("daemon is not running" in because for because in alarm["because"])
    assert "no claim for 20 minutes, because" in clawd("status").out


def test_a_fresh_task_raises_no_alarm(clawd: Clawd, world: World) -> None:
    world.task()
    assert json.loads(clawd("status", "--json").out)["alarm"] is None


@pytest.mark.parametrize(
    ("change", "because"),
    [
        ("update project set baseline_verdict = 'red'", "tests fail"),
        ("update agent set state = 'resting'", "no dev agent is idle"),
        ('update envelope set spent = "limit"', "envelope is empty"),
        ("update task set not_before = now() + interval '1 hour'", "not before"),
        ("update task set deps_open = 1", "waiting for the tasks they need"),
    ],
)
def test_every_fact_that_keeps_work_from_starting_is_named(
    clawd: Clawd, world: World, change: str, because: str
) -> None:
    world.task()
    today = json.loads(clawd("status", "--json").out)["money"]["period"]
    world.db.execute("update envelope set period = %s where scope = 'day'", (today,))
    world.db.execute(change)
    found = json.loads(clawd("status", "--json").out)["idle_because"]
    assert any(because in line for line in found), found


def test_why_tells_the_story_and_every_line_cites_rows_of_lineage(
    clawd: Clawd, world: World, told: dict[str, int]
) -> None:
    story = json.loads(clawd("why", str(told["landed"]), "--json").out)
    assert "QA passed on review 2, revise 1 of 3, tests green" in story["headline"]
    text = " ".join(line["text"] for line in story["lines"])
    for part in ("ROADMAP.md line 12", "(1 file, +10 -1)",
                 "revise 1 of 3 with 1 finding", "check green on tree",
                 "landed as commit bbbbbbbbbbbb", "It cost $0.48 in 4 runs"):  # fmt: skip
        assert part in text
    rows = {row["id"] for row in world.db.execute("select id from lineage")}
    cited = [number for line in story["lines"] for number in line["lineage"]]
    assert len(cited) >= 11
    assert set(cited) <= rows


def test_verify_answers_no_when_a_decision_was_changed(
    clawd: Clawd, world: World, told: dict[str, int]
) -> None:
    assert clawd("verify").code == 0
    world.db.execute("set session_replication_role = replica")
    world.db.execute("update lineage set why = 'nothing happened' where id = 5")
    answer = clawd("verify")
    assert answer.code == 1
    assert "Lineage row 5" in answer.out


def test_a_task_from_the_shell_and_back(clawd: Clawd, world: World) -> None:
    added = clawd("task", "add", "Parse dates", "--accept", "make test", "--scope", "src/**",
                  "--json")  # fmt: skip
    task = str(json.loads(added.out)["id"])
    assert clawd("task", "edit", task, "--spec", "As ISO 8601.").code == 0
    page = json.loads(clawd("task", "show", task, "--json").out)
    assert page["contract"]["spec"] == "As ISO 8601."
    assert page["contract_version"] == 2
    assert clawd("task", "cancel", task).code == 0
    assert clawd("task", "cancel", task).code == 4
    assert clawd("task", "reopen", task).code == 0
    assert json.loads(clawd("queue", "--json").out)["tasks"][0]["id"] == int(task)


def test_inbox_names_the_command_and_the_command_works(clawd: Clawd, told: dict[str, int]) -> None:
    waiting = json.loads(clawd("inbox", "--json").out)["waiting"][0]
    assert waiting["command"] == f"clawd answer {waiting['id']} 'TEXT'"
    assert clawd("approve", str(waiting["id"])).code == 4
    assert clawd("answer", str(waiting["id"]), "that", "one").code == 0
    assert json.loads(clawd("inbox", "--json").out)["waiting"] == []


def test_budget_sets_the_day_and_a_task(clawd: Clawd, told: dict[str, int]) -> None:
    assert clawd("budget", "set", "--day", "$25").code == 0
    assert clawd("budget", "set", "--task", "4", "6.50").code == 0
    rows = json.loads(clawd("budget", "show", "--json").out)["envelopes"]
    assert next(row["limit_usd"] for row in rows if row["scope"] == "day") == 25.0
    assert clawd("budget", "set").code == 2
    assert clawd("budget", "set", "--day", "lots").code == 2


def test_the_only_project_need_not_be_named_but_two_must(
    clawd: Clawd, world: World, tmp_path: Path
) -> None:
    assert clawd("task", "add", "one").code == 0
    make_world(world.db, tmp_path / "other", slug="other")
    answer = clawd("task", "add", "two")
    assert answer.code == 2
    assert "other, shop" in answer.err
    assert clawd("task", "add", "two", "--project", "other").code == 0
    assert clawd("task", "add", "two", "--project", "none").code == 2


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["nonsense"], 2),
        (["task", "show", "abc"], 2),
        (["task", "show", "99999999999999999999999"], 2),
        (["task", "show", "-1"], 2),
        (["task", "show", "404"], 4),
        (["task", "list", "--state", "asleep"], 2),
        (["why", "404"], 4),
        (["log", "404"], 4),
        (["log"], 2),
        (["diff", "404"], 4),
        (["goal", "show", "404"], 4),
        (["answer", "404", "x"], 4),
        (["approve", "0"], 2),
        (["undo", "404"], 4),
        (["evidence", "--since", "sometime"], 2),
        (["evidence", "--since", "999999w"], 2),
        (["task", "add", ""], 2),
        (["task", "add", "x", "--priority", "-5"], 2),
        (["cost", "--by", "moon"], 2),
    ],
)
def test_garbage_ends_in_a_sentence_and_a_documented_code(
    clawd: Clawd, world: World, args: list[str], code: int
) -> None:
    answer = clawd(*args)
    assert answer.code == code, answer
    assert answer.out == ""
    assert answer.err.strip()
    assert "Traceback" not in answer.err


def test_a_near_miss_is_guessed(clawd: Clawd) -> None:
    assert "Did you mean status?" in clawd("statsu").err


def test_the_reference_of_commands_is_current() -> None:
    page = (Path(__file__).parents[2] / "docs" / "commands.md").read_text("utf-8")
    assert reference.markdown() == page, "run make docs"


def test_text_of_an_agent_cannot_steer_the_terminal() -> None:
    hostile = "a\x1b]0;owned\x07b\x1b[2J\x1b[31mc\x1bPq\x1b\\d\x9b5me\u202egnp.exe\r\x00"
    assert show.clean(hostile) == "abcd5megnp.exe"
    assert show.one_line("  many\n lines\tof\x0b text ") == "many lines of text"
