"""The doctor on homes that are well, empty, broken: it never raises, and knows a remedy."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clawd import config, daemon, doctor
from clawd.adapters import cage, postgres
from clawd.adapters.cage import Probe
from clawd.doctor import host, programs
from clawd.setup import settings
from clawd.setup.home import replace_file
from clawd.store import projects, schema
from tests.parts.init_ground import GREEN, TOKEN, examine, packed_agent, run_init, use_agent

MakeRepo = Callable[..., Path]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, database: str) -> None:
    """A database of the test's own, and no `claude` or login of whoever runs the tests."""
    monkeypatch.setenv("CLAWD_DATABASE_URL", database)
    monkeypatch.setenv("HOME", str(tmp_path / "operator"))
    for name in ("SSH_CONNECTION", "SSH_TTY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def ready(home: Path, session_folder: Path, make_repo: MakeRepo) -> Path:
    """A home that went through init, with the project `repo`."""
    use_agent(home, packed_agent(session_folder))
    assert run_init(home, make_repo(GREEN), test_cmd="true").done.ok
    return home


def set_key(home: Path, section: str, key: str, value: str) -> None:
    file = home / config.FILE_NAME
    text = file.read_text() if file.exists() else config.default_text()
    replace_file(file, settings.with_key(text, section, key, value))


def note(home: Path, **changes: object) -> None:
    """What the daemon would have written about the project."""
    with postgres.connect(os.environ["CLAWD_DATABASE_URL"], application_name="tests") as db:
        row = projects.by_slug(db, "repo")
        assert row is not None
        projects.note(db, row.id, **changes)


def test_a_home_that_is_well_has_no_complaint(ready: Path) -> None:
    found = doctor.check(ready)
    assert [one for one in found if one.ok is False] == []
    names = {one.name for one in found}
    assert {"python", "git", "cage", "claude", "login", "database", "schema", "home"} <= names
    assert {"disk", "daemon", "repository of repo", "main of repo", "hub of repo"} <= names


def test_a_home_that_is_not_there_is_looked_at_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLAWD_DATABASE_URL")
    folder = tmp_path / "nothing"
    assert examine(folder, "home").remedy == "Make it: clawd init PATH"
    assert examine(folder, "database").ok is None
    assert not folder.exists()


def test_a_look_that_fails_is_a_finding_and_not_an_error(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Iterator[doctor.Finding]:
        raise RuntimeError("no such luck\nsecond line")

    monkeypatch.setattr(host, "python", broken)
    found = examine(home, "python")
    assert (found.ok, found.detail) == (False, "RuntimeError: no such luck")
    assert found.remedy


def test_unknown_and_repeated_keys_are_named_with_their_line(home: Path) -> None:
    (home / config.FILE_NAME).write_text("bugdet:\n  day_usd: 3\n")
    found = examine(home, "settings")
    assert found.detail == "clawd.yaml line 1: there is no key 'bugdet'."
    assert found.remedy == "Did you mean 'budget'?"


def test_an_open_home_is_said_with_how_to_close_it(home: Path) -> None:
    home.chmod(0o750)
    found = examine(home, "home")
    assert (found.ok, found.remedy) == (False, f"chmod 700 {home}")


def test_a_home_of_another_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.os, "geteuid", lambda: home.stat().st_uid + 1)
    found = next(iter(host.home(home, config.Config())))
    assert found.ok is False
    assert "belongs to" in found.detail
    assert "CLAWD_HOME" in found.remedy


def test_a_full_disk_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil._ntuple_diskusage(100, 98, 2)  # type: ignore[attr-defined]
    monkeypatch.setattr(host.shutil, "disk_usage", lambda _: usage)
    found = examine(home, "disk")
    assert found.ok is False
    assert "below 5 % no task is claimed" in found.detail


def test_an_old_git_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        line = "git version 2.34.1"

    monkeypatch.setattr(programs, "run", lambda _: Old)
    assert examine(home, "git").remedy == "Install git 2.39 or newer."


def test_a_cage_that_fails_is_said_with_its_remedy(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no = Probe(False, "bubblewrap is not installed.", "Install it, or say `sandbox: none`.")
    monkeypatch.setattr(cage, "probe", lambda: no)
    found = examine(home, "cage")
    assert (found.ok, found.detail, found.remedy) == (False, no.reason, no.remedy)
    set_key(home, "", "sandbox", "none")
    assert examine(home, "cage").ok is None


def test_a_missing_or_outdated_claude_is_said(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_key(ready, "claude", "minimum", "2.1.197")
    assert examine(ready, "claude").remedy == "Update it with `claude update`."
    set_key(ready, "claude", "path", "/nowhere/claude")
    assert examine(ready, "claude").detail == "There is no program at /nowhere/claude."
    monkeypatch.setattr("clawd.adapters.claude._USUAL_PLACES", ())
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    set_key(ready, "claude", "path", '""')
    assert "npm install -g" in examine(ready, "claude").remedy


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        (None, 0o600, "There is no login yet"),
        (f"CLAUDE_CODE_OAUTH_TOKEN={TOKEN}\n", 0o644, "can be read by others"),
        (f"ANTHROPIC_API_KEY={TOKEN}\n", 0o600, "looks like a CLAUDE_CODE_OAUTH_TOKEN"),
        ("", 0o600, "has neither of"),
        (f"export CLAUDE_CODE_OAUTH_TOKEN={TOKEN}\n", 0o600, "is not KEY=VALUE"),
    ],
)
def test_a_login_that_cannot_work_is_said_and_never_shown(
    home: Path, text: str | None, mode: int, words: str
) -> None:
    if text is not None:
        (home / "agent.env").write_text(text)
        (home / "agent.env").chmod(mode)
    found = examine(home, "login")
    assert found.ok is False
    assert words in found.detail
    assert TOKEN not in found.detail + found.remedy


def test_a_good_login_is_told_by_its_kind(home: Path) -> None:
    file = home / "agent.env"
    file.write_text(f"CLAUDE_CODE_OAUTH_TOKEN={TOKEN}\n")
    file.chmod(0o600)
    found = examine(home, "login")
    assert found.ok is True
    assert TOKEN not in found.detail


def test_a_probe_runs_the_client_in_the_real_cage(ready: Path) -> None:
    set_key(ready, "", "login", "inherit")
    probed = examine(ready, "login probe", probe=True)
    assert probed.ok is True, probed
    assert probed.detail.startswith("the model answered")
    assert not list((ready / "runs").glob("probe-*"))


def test_a_client_that_is_not_logged_in_is_found_by_the_probe(ready: Path, tmp_path: Path) -> None:
    client = tmp_path / "claude"
    client.write_text(
        "#!/bin/sh\n"
        'case "$1" in --version) echo "9.9.9 (Claude Code)"; exit;; esac\n'
        """echo '{"type":"system","subtype":"init","session_id":"s","model":"m","tools":[]}'\n"""
        """echo '{"type":"result","subtype":"success","is_error":true,"num_turns":1,"""
        """"result":"Not logged in \\u00b7 Please run /login","total_cost_usd":0}'\n"""
        "exit 1\n"
    )
    client.chmod(0o755)
    set_key(ready, "claude", "path", str(client))
    set_key(ready, "", "login", "inherit")
    probed = examine(ready, "login probe", probe=True)
    assert probed.ok is False, probed
    assert "Not logged in" in probed.detail
    assert probed.remedy


def test_a_database_that_does_not_answer_is_said(
    ready: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAWD_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    found = examine(ready, "database")
    assert found.ok is False
    assert "CLAWD_DATABASE_URL" in found.remedy


def test_a_newer_database_is_said(ready: Path) -> None:
    newest = max(step.version for step in schema.migrations()) + 1
    with postgres.connect(os.environ["CLAWD_DATABASE_URL"], application_name="tests") as db:
        db.execute(
            "insert into schema_migration (version, name, sha256, app) values (%s, 'x', 'x', '9')",
            (newest,),
        )
    found = examine(ready, "schema")
    assert found.ok is False
    assert "written by a newer clawd" in found.detail


def test_the_embedded_database_is_reported_and_not_started(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clawd.adapters import server

    monkeypatch.delenv("CLAWD_DATABASE_URL")
    with daemon.open_desk(home):
        found = examine(home, "database")
        assert found.detail.startswith("PostgreSQL ")
    server.stop(home)
    assert examine(home, "database").remedy == "Start it: clawd up"
    assert server.find_running(home) is None


def test_a_daemon_that_holds_the_home_is_seen_and_a_silent_one_is_told_from_it(
    ready: Path,
) -> None:
    assert examine(ready, "daemon").ok is None
    with _daemon_of(ready) as pid:
        assert f"process {pid} works" in examine(ready, "daemon").detail
        os.utime(ready / "daemon.beat", (1, 1))
        silent = examine(ready, "daemon")
        assert silent.ok is False
        assert f"kill -9 {pid}" in silent.remedy


@contextmanager
def _daemon_of(home: Path) -> Iterator[int]:
    """A process that holds the home as a daemon does."""
    code = (
        "import sys, fcntl, os, time; f = open(sys.argv[1], 'a+'); fcntl.flock(f, 2);"
        "f.truncate(0); f.write(str(os.getpid())); f.flush(); print('held', flush=True);"
        "sys.stdin.read()"
    )
    argv = ["python3", "-c", code, str(home / "daemon.lock")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        (home / "daemon.beat").touch()
        try:
            yield process.pid
        finally:
            process.stdin.close()
            process.wait(10)


def test_a_kill_switch_that_is_on_is_said(home: Path) -> None:
    (home / "freeze").touch()
    assert examine(home, "kill switch").remedy == "Lift it: clawd resume"


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("red", "--mends-main"),
        ("flaky", "projects.repo.known_red"),
        ("setup_failed", "Set projects.repo.setup"),
        ("no_command", "Set projects.repo.test"),
    ],
)
def test_a_main_that_is_not_green_comes_with_its_way_out(
    ready: Path, verdict: str, words: str
) -> None:
    note(ready, baseline_verdict=verdict, baseline_log="first\nthe last line\n")
    found = examine(ready, "main of repo")
    assert found.ok is False
    assert words in found.remedy


def test_a_broken_roadmap_and_held_landings_are_said(ready: Path) -> None:
    note(ready, roadmap_problem="ROADMAP.md is empty.", landings_held="diverged in a.py")
    assert examine(ready, "roadmap of repo").detail == "ROADMAP.md is empty."
    assert examine(ready, "landings of repo").detail == "held: diverged in a.py"


def test_a_repository_that_is_gone_or_lost_its_branch_is_said(ready: Path, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    subprocess.run(["git", "-C", str(repo), "branch", "-m", "trunk"], check=True, timeout=60)
    assert "has no branch 'main'" in examine(ready, "repository of repo").detail
    shutil.rmtree(repo)
    assert "does not exist" in examine(ready, "repository of repo").detail


def test_a_hub_with_a_missing_object_is_said(ready: Path) -> None:
    hub = ready / "hubs" / "repo.git"
    for pack in (hub / "objects").rglob("*"):
        if pack.is_file():
            pack.unlink()
    found = examine(ready, "hub of repo")
    assert found.ok is False
    assert str(hub) in found.remedy
