"""The database goes away in every way it can: clawd waits, says it once and goes on by itself."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from clawd.adapters import postgres, server
from clawd.adapters.postgres import listener as listening
from tests.prove import ground
from tests.prove.paths import LocalPath, socket_of
from tests.whole import small_disk
from tests.whole.line import FILES, Line, daemon_thread, open_line, wait_for

pytestmark = pytest.mark.prove
MakeRepo = Callable[..., Path]


def _all_done(line: Line) -> bool:
    return ground.is_quiet(line) and {row["state"] for row in line.rows(
        "select state from task"
    )} == {"done"}  # fmt: skip


def _outages(line: Line) -> list[str]:
    return [row["dedupe"] for row in line.rows(
        "select dedupe from outbox where dedupe like 'outage:%%'"
    )]  # fmt: skip


def _cut_all(conninfo: str) -> int:
    name = conninfo_to_dict(conninfo)["dbname"]
    with psycopg.connect(conninfo, autocommit=True, dbname="postgres") as db:
        return len(db.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,)
        ).fetchall())  # fmt: skip


def test_backends_that_are_killed_all_the_time_lose_nothing(line: Line) -> None:
    for number in range(3):
        line.add(f"Part {number}", "[behave: sleep 1]")
    cut = 0
    with ground.running(line):
        wait_for(lambda: ground.is_up(line))
        until = time.monotonic() + 6
        while time.monotonic() < until:
            cut += _cut_all(line.conninfo)
            time.sleep(0.2)
        wait_for(lambda: _all_done(line), 90)
    assert cut > 30
    assert ground.violations(line) == []


def test_a_server_killed_while_agents_run_is_brought_back_and_nothing_is_repeated(
    home: Path, make_repo: MakeRepo
) -> None:
    own = server.ensure_running(home)
    with open_line(home, own.conninfo, {"sample": make_repo(FILES)}) as line:
        tasks = [line.add(f"Slow {number}", "[behave: sleep 4]") for number in range(3)]
        with ground.running(line, CLAWD_DATABASE_URL=""):
            wait_for(lambda: len(ground.keepers(line)) >= 3)
            status = server.status(home)
            assert status.pid is not None
            postmaster = psutil.Process(status.pid)
            for each in [postmaster, *postmaster.children()]:
                each.kill()
            before = time.monotonic()
            wait_for(lambda: server.find_running(home), 20)
            back_after_s = time.monotonic() - before
            wait_for(lambda: _calm(lambda: _all_done(line)), 90)
        assert all(len(line.runs(task, "dev")) == 1 for task in tasks)
        assert ground.violations(line) == []
        assert len(_outages(line)) <= 1  # one of a moment is not worth telling
    assert back_after_s < 10


def _calm(what: Callable[[], Any]) -> Any:
    """None while the database is away."""
    try:
        return what()
    except psycopg.Error:
        return None


@contextmanager
def _line_over(
    path: LocalPath, home: Path, database: str, make_repo: MakeRepo
) -> Iterator[tuple[Line, Line]]:
    """Two views of one home: what the daemon uses, over the path, and ours, straight."""
    repos = {"sample": make_repo(FILES)}
    with open_line(home, database, repos) as straight:
        pool = postgres.open_pool(path.conninfo(database), size=12)
        over = type(straight.desk)(home, straight.desk.config, straight.desk.host, pool)
        try:
            yield Line(over, home, repos, path.conninfo(database)), straight
        finally:
            pool.close()


def test_a_connection_that_froze_without_an_error_is_cut_and_work_goes_on(
    home: Path, database: str, make_repo: MakeRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "_ECHO_EVERY_S", 0.5)
    monkeypatch.setattr(listening, "_ECHO_LIMIT_S", 1.0)
    path = LocalPath(socket_of(database))
    try:
        with _line_over(path, home, database, make_repo) as (over, straight):
            straight.add("Before")
            with daemon_thread(over):
                wait_for(lambda: _all_done(straight))
                straight.add("While", "[behave: sleep 1]")
                wait_for(lambda: ground.keepers(straight))
                path.frozen.set()
                time.sleep(5)
                straight.add("After")
                path.frozen.clear()
                wait_for(lambda: _all_done(straight), 60, "a loop hangs on the frozen path")
            assert ground.violations(straight) == []
    finally:
        path.close()


def test_behind_a_pooler_that_passes_no_notification_polling_is_enough(
    home: Path, database: str, make_repo: MakeRepo
) -> None:
    path = LocalPath(socket_of(database), deaf=True)
    try:
        with _line_over(path, home, database, make_repo) as (over, straight):
            with daemon_thread(over):
                straight.add("Deaf")
                wait_for(lambda: _all_done(straight), 150)  # each stage polls by itself
            assert ground.violations(straight) == []
    finally:
        path.close()


def test_a_server_that_turned_read_only_is_waited_for(line: Line) -> None:
    name = conninfo_to_dict(line.conninfo)["dbname"]
    with psycopg.connect(line.conninfo, autocommit=True, dbname="postgres") as db:

        def read_only(on: str) -> None:
            db.execute(f"alter database {name} set default_transaction_read_only = {on}")
            _cut_all(line.conninfo)

        with ground.running(line) as running:
            wait_for(line.desk.beat_file.exists)
            read_only("on")
            with psycopg.connect(line.conninfo, autocommit=True) as own:
                own.execute("set default_transaction_read_only = off")
                own.execute("select pg_notify('clawd', '')")
            time.sleep(4)
            assert running.poll() is None
            read_only("off")
            wait_for(lambda: _calm(lambda: line.add("Writable")), 20)
            wait_for(lambda: _calm(lambda: _all_done(line)), 60)
    assert ground.violations(line) == []


@pytest.fixture
def cramped(home: Path) -> Iterator[Path]:
    with small_disk.mounted(home):
        yield home


def test_a_full_disk_stops_claims_is_told_once_and_work_resumes_by_itself(
    cramped: Path, database: str, make_repo: MakeRepo
) -> None:
    with open_line(cramped, database, {"sample": make_repo(FILES)}) as line:
        with ground.running(line) as running:
            for number in range(2):
                line.add(f"Caught {number}", "[behave: sleep 1]")
            wait_for(lambda: ground.keepers(line))
            ballast = small_disk.fill(cramped)
            time.sleep(8)
            assert running.poll() is None, ground.said(line)
            ballast.unlink()
            wait_for(lambda: ground.is_quiet(line), 90)
            ballast = small_disk.fill(cramped, leave_bytes=600_000)
            late = line.add("Late")
            wait_for(lambda: _disk_alerts(line) == 1, 75)
            assert line.task(late).state == "backlog"
            ballast.unlink()
            wait_for(lambda: line.task(late).state == "done", 60)
        assert ground.violations(line) == []
        assert _disk_alerts(line) == 1


def _disk_alerts(line: Line) -> int:
    return len(line.rows("select from outbox where dedupe like 'disk:%%'"))


def test_a_daemon_whose_database_is_away_at_its_start_ends_with_a_sentence(home: Path) -> None:
    nowhere = f"host={home} dbname=nothing connect_timeout=1"
    done = subprocess.run(
        [sys.executable, "-m", "clawd", "up", "--foreground", "--home", str(home)],
        env={**os.environ, "CLAWD_DATABASE_URL": nowhere}, cwd=ground.REPO,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
