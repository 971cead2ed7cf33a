"""`clawd init` with real git, Postgres, cage and agents: what it ticks and what it refuses."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from clawd import config, daemon, setup
from clawd.adapters import cage, postgres
from clawd.adapters.cage import Probe
from clawd.cli.main import main
from clawd.config import Login, Sandbox
from clawd.errors import ClawdError, Refused, UsageError
from clawd.model import Landing
from clawd.setup import login, settings
from clawd.setup.choices import Choices
from clawd.store import projects
from tests.parts.init_ground import (
    GREEN,
    TOKEN,
    UNITTEST,
    Operator,
    packed_agent,
    run_init,
    use_agent,
)

MakeRepo = Callable[..., Path]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, database: str) -> None:
    """A database of the test's own, and no `claude` or login of whoever runs the tests."""
    monkeypatch.setenv("CLAWD_DATABASE_URL", database)
    monkeypatch.setenv("HOME", str(tmp_path / "operator"))
    for name in ("SSH_CONNECTION", "SSH_TTY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def agent_home(home: Path, session_folder: Path) -> Path:
    """A home whose agents are the scripted one and need no login."""
    use_agent(home, packed_agent(session_folder))
    return home


def git(at: Path, *words: str) -> str:
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    argv = ["git", "-C", str(at), *who, *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


# ---------------------------------------------------------------------- the whole list


def test_a_green_repository_ends_with_every_line_ticked(
    agent_home: Path, make_repo: MakeRepo, database: str
) -> None:
    repo = make_repo(GREEN, name="My Shöp")
    listing = run_init(agent_home, repo, test_cmd=UNITTEST)
    assert listing.done.ok, listing.said
    assert "main is green, 3 times of 3" in listing.ticked("tests")
    assert listing.ticked("roadmap") == "ROADMAP.md: 1 to do, 1 done"
    assert "branch main at" in listing.ticked("repository")
    assert listing.said[-1].strip() == "Everything is ready. Start it: clawd up"
    known = config.load(agent_home).projects["my-shop"]
    assert (known.path, known.branch, known.test) == (str(repo), "main", UNITTEST)
    with postgres.connect(database, application_name="tests") as db:
        row = projects.by_slug(db, "my-shop")
    assert row is not None
    assert row.baseline_verdict == "green"


def test_a_second_init_ticks_the_same_and_changes_nothing(
    agent_home: Path, make_repo: MakeRepo
) -> None:
    repo = make_repo(GREEN)
    run_init(agent_home, repo, test_cmd=UNITTEST)
    file = agent_home / config.FILE_NAME
    before = file.read_bytes()
    listing = run_init(agent_home, repo)
    assert listing.done.ok
    assert file.read_bytes() == before
    assert "repo, as clawd.yaml has it" in listing.ticked("project")
    assert not any("3 times:" in line for line in listing.said), "main was tested again"


def test_a_known_project_keeps_its_settings_and_says_where_to_change_them(
    agent_home: Path, make_repo: MakeRepo
) -> None:
    repo = make_repo(GREEN)
    run_init(agent_home, repo, test_cmd=UNITTEST)
    listing = run_init(agent_home, repo, test_cmd="false")
    notes = [row for row in listing.done.rows if row.name == "project" and row.ok is None]
    assert notes[0].remedy.startswith("Change projects.repo.test in clawd.yaml")
    assert config.load(agent_home).projects["repo"].test == UNITTEST


def test_one_tiny_task_lands_when_asked_for(agent_home: Path, make_repo: MakeRepo) -> None:
    repo = make_repo(GREEN)
    listing = run_init(agent_home, repo, test_cmd=UNITTEST, prove=True)
    assert "landed docs/clawd.md" in listing.ticked("proof")
    assert (repo / "docs" / "clawd.md").read_text()
    assert daemon.is_running(agent_home) is None
    again = run_init(agent_home, repo, prove=True)
    assert not any(row.name == "proof" for row in again.done.rows), "it proves once"


def test_a_fresh_home_gets_its_own_database_and_a_private_folder(
    tmp_path: Path, home: Path, make_repo: MakeRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLAWD_DATABASE_URL")
    home.rmdir()
    listing = run_init(home, make_repo(GREEN), test_cmd=UNITTEST)
    assert listing.ticked("home") == f"{home}, made, only yours"
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / config.FILE_NAME).stat().st_mode) == 0o600
    assert listing.ticked("database")
    assert listing.ticked("cage")
    assert {"claude", "login"} == {row.name for row in listing.done.rows if row.ok is False}


# ---------------------------------------------------------------------- the home


def test_a_home_of_somebody_else_is_refused(
    home: Path, make_repo: MakeRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: home.stat().st_uid + 1)
    with pytest.raises(Refused, match=r"The home .* belongs to") as refused:
        run_init(home, make_repo())
    assert "CLAWD_HOME" in refused.value.remedy


def test_a_home_open_to_others_is_closed(home: Path, make_repo: MakeRepo) -> None:
    home.chmod(0o755)
    assert "closed to others now" in run_init(home, make_repo()).ticked("home")
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_a_repository_inside_the_home_is_refused(home: Path) -> None:
    with pytest.raises(Refused, match="inside clawd's own home"):
        run_init(home, home / "hubs" / "shop.git")


def test_a_second_init_at_the_same_time_is_refused(home: Path, make_repo: MakeRepo) -> None:
    with (home / "init.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Refused, match="Another `clawd init` is at work"):
            run_init(home, make_repo())


def test_a_broken_clawd_yaml_ends_the_init_with_its_line(home: Path, make_repo: MakeRepo) -> None:
    (home / config.FILE_NAME).write_text("budget:\n  day_usd: 5\n  day_usd: 6\n")
    with pytest.raises(ClawdError, match=r"line 3: the key 'day_usd' is already on line 2"):
        run_init(home, make_repo())


# ---------------------------------------------------------------------- the repository


def test_a_folder_that_is_no_repository_is_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ClawdError, match="is not a git repository") as refused:
        run_init(home, tmp_path)
    assert refused.value.remedy.startswith("Make it one: git init")


def test_a_path_that_does_not_exist_is_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ClawdError, match="does not exist"):
        run_init(home, tmp_path / "nowhere")


def test_a_repository_without_commits_is_refused(home: Path, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path / "new")], check=True, timeout=60)
    with pytest.raises(ClawdError, match="has no commits yet") as refused:
        run_init(home, tmp_path / "new")
    assert "git add -A && git commit" in refused.value.remedy


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_repository_of_another_account_is_told_from_an_empty_one(
    home: Path, make_repo: MakeRepo
) -> None:
    repo = make_repo(GREEN)
    for path in (repo, *repo.rglob("*")):
        os.chown(path, 1234, 1234)
    with pytest.raises(ClawdError, match="belongs to uid 1234, and git does not trust it") as said:
        run_init(home, repo)
    assert "safe.directory" in said.value.remedy


def test_a_detached_head_is_refused_unless_a_branch_is_named(
    home: Path, make_repo: MakeRepo
) -> None:
    repo = make_repo(GREEN)
    git(repo, "switch", "-q", "--detach")
    with pytest.raises(ClawdError, match="detached HEAD") as refused:
        run_init(home, repo)
    assert "git switch main" in refused.value.remedy
    assert "branch main" in run_init(home, repo, branch="main").ticked("repository")


def test_a_branch_that_is_not_there_is_refused(home: Path, make_repo: MakeRepo) -> None:
    with pytest.raises(ClawdError, match="has no branch 'trunk'") as refused:
        run_init(home, make_repo(), branch="trunk")
    assert refused.value.remedy.startswith("See which there are")


def test_a_dirty_checkout_is_only_a_notice(agent_home: Path, make_repo: MakeRepo) -> None:
    repo = make_repo(GREEN)
    (repo / "ROADMAP.md").write_text("- [ ] Something else\n")
    listing = run_init(agent_home, repo, test_cmd=UNITTEST)
    assert listing.row("checkout").ok is None
    assert "only while it is clean" in listing.row("checkout").remedy
    assert listing.done.ok


def test_a_bare_repository_lands_on_its_branch_ref(agent_home: Path, make_repo: MakeRepo) -> None:
    bare = make_repo(GREEN).with_name("shop.git")
    git(bare.with_name("repo"), "clone", "-q", "--bare", ".", str(bare))
    listing = run_init(agent_home, bare, test_cmd=UNITTEST)
    assert "a bare repository" in listing.ticked("repository")
    assert config.load(agent_home).projects["shop"].landing is Landing.BRANCH
    assert listing.done.ok, listing.said


def test_two_folders_of_one_name_get_two_slugs(agent_home: Path, make_repo: MakeRepo) -> None:
    for place in ("a/shop", "b/shop"):
        run_init(agent_home, make_repo(GREEN, name=place), test_cmd="true")
    assert list(config.load(agent_home).projects) == ["shop-2", "shop"]


# ---------------------------------------------------------------------- claude, login, cage


def test_a_missing_claude_is_said_with_how_to_get_it(
    home: Path, make_repo: MakeRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clawd.adapters.claude._USUAL_PLACES", ())
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    detail, remedy = run_init(home, make_repo(), test_cmd="true").missing("claude")
    assert "there is no `claude` in PATH" in detail
    assert "npm install -g @anthropic-ai/claude-code" in remedy


def test_an_outdated_claude_is_said_with_how_to_update_it(
    agent_home: Path, make_repo: MakeRepo
) -> None:
    file = agent_home / config.FILE_NAME
    file.write_text(settings.with_key(file.read_text(), "claude", "minimum", "2.1.197"))
    detail, remedy = run_init(agent_home, make_repo(), test_cmd="true").missing("claude")
    assert "clawd needs 2.1.197 or newer" in detail
    assert remedy == "Update it with `claude update`."


def test_no_login_is_said_with_both_ways_to_get_one(home: Path, make_repo: MakeRepo) -> None:
    detail, remedy = run_init(home, make_repo(), test_cmd="true").missing("login")
    assert "There is no login yet" in detail
    assert "claude setup-token" in remedy
    assert "ANTHROPIC_API_KEY" in remedy


@pytest.mark.parametrize(
    ("said", "way", "line"),
    [
        (TOKEN, "token", f"CLAUDE_CODE_OAUTH_TOKEN={TOKEN}\n"),
        ("sk-ant-api03-" + "b" * 40, "token", f"ANTHROPIC_API_KEY=sk-ant-api03-{'b' * 40}\n"),
        ("c" * 40, "key", f"ANTHROPIC_API_KEY={'c' * 40}\n"),
    ],
)
def test_a_pasted_secret_goes_into_a_file_only_its_owner_reads_and_nowhere_else(
    home: Path, make_repo: MakeRepo, said: str, way: str, line: str
) -> None:
    operator = Operator({"How do agents log in": way, "Paste": f" {said}\n", "tiny call": "no"})
    listing = run_init(home, make_repo(), operator, test_cmd="true")
    file = home / "agent.env"
    assert file.read_text() == line
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "not tried" in listing.ticked("login")
    assert not any(said in text for text in listing.said)


def test_a_secret_that_is_no_token_is_refused(home: Path, make_repo: MakeRepo) -> None:
    with pytest.raises(UsageError, match="That is no token") as refused:
        run_init(home, make_repo(), token="two words and 'quotes'")
    assert "words" not in str(refused.value.message)
    assert not (home / "agent.env").exists()


def test_inherit_without_a_login_of_ones_own_is_said(home: Path, make_repo: MakeRepo) -> None:
    detail, remedy = run_init(home, make_repo(), test_cmd="true", login="inherit").missing("login")
    assert ".credentials.json, which is not there" in detail
    assert "clawd init" in remedy
    assert config.load(home).login is Login.INHERIT


def test_macos_over_ssh_without_a_token_is_refused(home: Path) -> None:
    remote = {"SSH_CONNECTION": "192.0.2.1 1 192.0.2.2 22"}
    with pytest.raises(Refused, match="keychain") as refused:
        login.refuse_over_ssh(home, Choices(), remote, "darwin")
    assert "claude setup-token" in refused.value.remedy
    login.refuse_over_ssh(home, Choices(), {}, "darwin")
    login.refuse_over_ssh(home, Choices(), remote, "linux")
    login.refuse_over_ssh(home, Choices(token=TOKEN), remote, "darwin")
    with pytest.raises(Refused):
        login.refuse_over_ssh(home, Choices(login="inherit"), remote, "darwin")
    (home / "agent.env").write_text("")
    login.refuse_over_ssh(home, Choices(), remote, "darwin")


def test_clawd_up_over_ssh_on_macos_refuses_too(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.1 1 192.0.2.2 22")
    monkeypatch.setattr(setup, "sys", SimpleNamespace(platform="darwin"))
    assert main(["--home", str(home), "up"]) == 4
    said = capsys.readouterr().err
    assert "Over ssh macOS keeps its keychain shut" in said
    assert "claude setup-token" in said
    assert daemon.is_running(home) is None


def test_nobody_at_the_terminal_is_no_error(agent_home: Path, make_repo: MakeRepo) -> None:
    def ask(question: str, *, default: str = "", **_: object) -> str:
        if not default:
            raise UsageError(f"There is nobody to ask: {question}")
        return default

    file = agent_home / config.FILE_NAME
    file.write_text(settings.with_key(file.read_text(), "", "login", "token"))
    done = setup.init(agent_home, make_repo(GREEN), ask=ask, test_cmd="true")
    assert [row.name for row in done.rows if row.ok is False] == ["login"]


def test_without_a_cage_nothing_runs_until_that_is_said(
    agent_home: Path, make_repo: MakeRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    no = Probe(False, "bubblewrap is not installed.", "Install it, or say `sandbox: none`.")
    monkeypatch.setattr(cage, "probe", lambda *_: no)
    repo = make_repo(GREEN)
    listing = run_init(agent_home, repo, test_cmd=UNITTEST)
    assert listing.missing("cage") == (no.reason, no.remedy)
    assert "there is no cage to run them in" in listing.missing("tests")[0]
    said = run_init(agent_home, repo, sandbox="none")
    assert config.load(agent_home).sandbox is Sandbox.NONE
    assert "main is green" in said.ticked("tests")
    assert "Agents run without a cage" in said.said[-1]


# ---------------------------------------------------------------------- tests of main


def test_without_a_test_command_nothing_lands_and_init_says_so(
    agent_home: Path, make_repo: MakeRepo
) -> None:
    listing = run_init(agent_home, make_repo({"notes.txt": "x"}))
    detail, remedy = listing.missing("tests")
    assert detail == "there is no test command, so nothing lands"
    assert "Set projects.repo.test in clawd.yaml" in remedy


def test_a_red_main_is_said_with_its_output_and_two_remedies(
    agent_home: Path, make_repo: MakeRepo
) -> None:
    repo = make_repo(GREEN)
    listing = run_init(agent_home, repo, test_cmd="echo the till is open; exit 1")
    detail, remedy = listing.missing("tests")
    assert detail.startswith("main is red")
    assert "clawd task add --project repo --mends-main" in remedy
    assert "projects.repo.known_red" in remedy
    assert any("| the till is open" in line for line in listing.said)
    assert "Not ready yet: tests" in listing.said[-1]


def test_a_red_main_is_looked_at_again_when_the_command_was_mended(
    agent_home: Path, make_repo: MakeRepo
) -> None:
    repo = make_repo(GREEN)
    run_init(agent_home, repo, test_cmd="exit 1").missing("tests")
    file = agent_home / config.FILE_NAME
    file.write_text(file.read_text().replace("test: exit 1", "test: exit 0"))
    assert "main is green" in run_init(agent_home, repo).ticked("tests")


def test_a_flaky_main_is_told_from_a_red_one(
    agent_home: Path, make_repo: MakeRepo, tmp_path: Path
) -> None:
    count = tmp_path / "count"  # only without a cage can tests remember anything
    command = f"n=$(cat {count} || echo 0); echo $((n+1)) > {count}; echo run $n; test $n != 1"
    listing = run_init(agent_home, make_repo(GREEN), test_cmd=command, sandbox="none")
    detail, remedy = listing.missing("tests")
    assert detail == "main is flaky: the same tree was green and red"
    assert "known_red" in remedy
    assert any("| run 1" in line for line in listing.said)


def test_a_set_up_that_fails_is_the_operators_and_shows_its_output(
    agent_home: Path, make_repo: MakeRepo
) -> None:
    listing = run_init(
        agent_home, make_repo(GREEN), test_cmd="true", setup_cmd="echo no such package; exit 9"
    )
    detail, remedy = listing.missing("set-up")
    assert "`echo no such package; exit 9` failed" in detail
    assert "Set projects.repo.setup in clawd.yaml right" in remedy
    assert any("| no such package" in line for line in listing.said)


def test_a_set_up_is_made_once_and_seen_by_the_tests(agent_home: Path, make_repo: MakeRepo) -> None:
    repo = make_repo({**GREEN, "package.json": "{}"})
    file = agent_home / config.FILE_NAME
    run_init(agent_home, repo, setup_cmd="mkdir -p deps && echo 1 > deps/ok", test_cmd="exit 1")
    text = file.read_text().replace("test: exit 1", "test: test -s deps/ok")
    file.write_text(text.replace("  repo:\n", "  repo:\n    setup_paths: [deps]\n"))
    # A layer of the same digest knows nothing of the new paths: its key must change with them.
    file.write_text(file.read_text().replace("echo 1 >", "echo 2 >"))
    listing = run_init(agent_home, repo)
    assert "done once, kept for every workspace" in listing.ticked("set-up")
    assert "main is green" in listing.ticked("tests")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"docker-compose.yml": "services: {}\n"}, "the cage has no docker"),
        ({"tests/test_net.py": "requests.get('https://api.shop.com/')\n"}, "network_for_tests"),
    ],
)
def test_tests_that_need_docker_or_the_network_are_named(
    agent_home: Path, make_repo: MakeRepo, files: dict[str, str], words: str
) -> None:
    listing = run_init(agent_home, make_repo({**GREEN, **files}), test_cmd="true")
    notes = [row.detail for row in listing.done.rows if row.name == "tests" and row.ok is None]
    assert any(words in note for note in notes), notes


# ---------------------------------------------------------------------- roadmap, money, questions


def test_a_missing_roadmap_is_offered_and_its_example_starts_nothing(
    agent_home: Path, make_repo: MakeRepo
) -> None:
    repo = make_repo({"tests/test_a.py": GREEN["tests/test_shop.py"]})
    silent = run_init(agent_home, repo, test_cmd="true")
    assert "there is no ROADMAP.md" in silent.row("roadmap").detail
    assert not (repo / "ROADMAP.md").exists()
    run_init(agent_home, repo, Operator({"There is no ROADMAP.md": "yes"}))
    assert "- [ ] " in (repo / "ROADMAP.md").read_text()
    assert "has no boxes" in run_init(agent_home, repo).row("roadmap").detail


@pytest.mark.parametrize("data", [b"\xff\xfe\x00binary", b"- [ ] a\0b\n"])
def test_a_binary_roadmap_is_said_with_a_remedy(
    agent_home: Path, make_repo: MakeRepo, data: bytes
) -> None:
    repo = make_repo({**GREEN, "ROADMAP.md": data})
    detail, _ = run_init(agent_home, repo, test_cmd="true").missing("roadmap")
    assert "ROADMAP.md" in detail


def test_the_operator_is_asked_and_their_answers_are_written(
    agent_home: Path, make_repo: MakeRepo
) -> None:
    operator = Operator({"USD a day": "2.50", "Test command": UNITTEST, "Landings": "branch"})
    listing = run_init(agent_home, make_repo(GREEN), operator)
    assert listing.done.ok, listing.said
    known = config.load(agent_home)
    assert known.budget.day_micros == 2_500_000
    assert known.landing_of("repo") is Landing.BRANCH
    assert known.projects["repo"].test == UNITTEST
    assert listing.ticked("money").startswith("at most 2.5 USD a day")


def test_an_amount_that_is_none_is_asked_for_again_and_never_invented(
    agent_home: Path, make_repo: MakeRepo
) -> None:
    operator = Operator({"USD a day": "much"})
    run_init(agent_home, make_repo(GREEN), operator, test_cmd="true")
    assert config.load(agent_home).budget.day_micros == 10_000_000


@pytest.mark.parametrize(
    ("choice", "value"), [("login", "telepathy"), ("landing", "push"), ("colour", "red")]
)
def test_an_unknown_choice_is_refused(home: Path, choice: str, value: str) -> None:
    with pytest.raises(UsageError):
        setup.init(home, home, **{choice: value})


# ---------------------------------------------------------------------- editing clawd.yaml


@pytest.mark.parametrize(
    "text",
    [
        config.default_text(),
        "",
        "# mine\nbudget:\n    task_usd: 3 # dear\nlogin: inherit\n",
        "budget: # money\n  day_usd: 99\n",
        "sandbox: none\r\nbudget:\r\n  day_usd: 1\r\n",
    ],
)
def test_one_key_changes_and_every_other_line_stays(home: Path, text: str) -> None:
    file = home / config.FILE_NAME
    file.write_text(text, newline="")
    before = config.read(text)
    after = settings.dataclasses.replace(before.budget, day_micros=7_000_000)
    settings.change(home, "budget", "day_usd", "7", budget=after)
    settings.choose_login(home, Login.NONE)
    known = config.load(home)
    assert (known.budget, known.login) == (after, Login.NONE)
    assert known.sandbox is before.sandbox
    new = file.read_bytes().decode()
    kept = [line for line in text.splitlines() if "day_usd" not in line and "login:" not in line]
    assert [line for line in new.splitlines() if line in kept] == kept


def test_a_file_that_cannot_be_changed_by_a_line_is_left_alone(home: Path) -> None:
    file = home / config.FILE_NAME
    file.write_text("budget: {day_usd: 3}\n")
    after = settings.dataclasses.replace(config.load(home).budget, day_micros=7_000_000)
    with pytest.raises(ClawdError, match=r"cannot set budget\.day_usd") as refused:
        settings.change(home, "budget", "day_usd", "7", budget=after)
    assert refused.value.remedy == "Write `day_usd: 7` there below `budget:`."
    assert file.read_text() == "budget: {day_usd: 3}\n"
