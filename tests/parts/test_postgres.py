"""Connections, the pool, the listener and the boundary for text, against a real server."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.conninfo import make_conninfo
from psycopg.rows import DictRow

from clawd.adapters import postgres, server
from clawd.adapters.postgres import listener as listening
from clawd.errors import ClawdError, NotRunning

Db = psycopg.Connection[DictRow]


def value(db: Db, statement: str) -> object:
    row = db.execute(statement.encode()).fetchone()
    return next(iter(row.values())) if row else None


# --- connections


def test_a_session_has_limits_so_that_nothing_waits_for_ever(db: Db) -> None:
    limits = ("statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout")
    assert [value(db, f"SHOW {name}") for name in limits] == ["30s", "1min", "10s"]
    assert value(db, "SHOW TimeZone") == "UTC"
    assert value(db, "SHOW application_name") == "tests"
    assert db.execute("SELECT 1 AS one").fetchone() == {"one": 1}


def test_a_connection_without_autocommit_starts_clean_and_rolls_back(database: str) -> None:
    with postgres.connect(database, application_name="t", autocommit=False) as connection:
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        assert value(connection, "SHOW statement_timeout") == "30s"
        connection.execute("CREATE TABLE lost (n int)")
        connection.rollback()
        assert value(connection, "SELECT to_regclass('lost')") is None


def test_a_connection_opens_within_milliseconds(database: str) -> None:
    took_s = []
    for _ in range(5):
        began = time.perf_counter()
        postgres.connect(database, application_name="t").close()
        took_s.append(time.perf_counter() - began)
    assert min(took_s) < 0.05


def test_opening_a_connection_never_loads_the_pool() -> None:
    code = "import sys, clawd.adapters.postgres; print('psycopg_pool' in sys.modules)"
    root = Path(__file__).parents[2]
    told = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=True)
    assert told.stdout.strip() == b"False"


def test_a_remote_server_is_watched_and_its_statements_are_not_prepared() -> None:
    given_by = "postgresql://someone@db.example:6432/clawd?connect_timeout=3"
    parameters = postgres.connection._parameters(given_by, "t")
    assert "tcp_user_timeout=30000" in parameters
    assert "target_session_attrs=read-write" in parameters
    assert "connect_timeout=3" in parameters
    assert postgres.connection._prepare_threshold(given_by) is None
    assert postgres.connection._prepare_threshold("host=/run/x dbname=clawd") == 5


def test_the_operators_own_database_replaces_the_embedded_one(home: Path, database: str) -> None:
    assert postgres.resolve(home, {postgres.URL_VARIABLE: f" {database} "}) == database
    assert list(home.iterdir()) == []


def test_a_malformed_database_url_is_refused_without_repeating_it(home: Path) -> None:
    environ = {postgres.URL_VARIABLE: "postgres//me:secret@host"}
    with pytest.raises(ClawdError, match="not a PostgreSQL connection string") as refusal:
        postgres.resolve(home, environ)
    assert "secret" not in str(refusal.value)


def test_without_an_own_database_the_embedded_one_is_started_when_asked(home: Path) -> None:
    with pytest.raises(NotRunning, match="is not running"):
        postgres.resolve(home, {}, start=False)
    conninfo = postgres.resolve(home, {postgres.URL_VARIABLE: ""})
    assert postgres.resolve(home, {}, start=False) == conninfo
    running = server.find_running(home)
    assert running is not None
    assert running.conninfo == conninfo


# --- the pool


def test_a_pool_replaces_connections_the_server_cut(database: str, db: Db) -> None:
    with postgres.open_pool(database, size=2, application_name="pooled") as pool:
        with pool.connection() as connection:
            assert value(connection, "SHOW lock_timeout") == "10s"
            assert connection.autocommit
        db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'pooled'"
        )
        for _ in range(3):
            with pool.connection() as connection:
                assert value(connection, "SELECT 1") == 1
    assert [t.name for t in threading.enumerate() if t.name.startswith("pooled")] == []


def test_a_pool_that_cannot_connect_says_so_and_leaves_no_thread(tmp_path: Path) -> None:
    with pytest.raises(psycopg.OperationalError) as failure:
        postgres.open_pool(
            f"host={tmp_path} dbname=x user=x", size=1, application_name="lost", timeout_s=0.5
        )
    assert postgres.is_transient(failure.value)
    assert [t.name for t in threading.enumerate() if t.name.startswith("lost")] == []


# --- errors


def test_errors_that_pass_are_told_from_errors_that_stay(database: str, db: Db) -> None:
    def error_of(statement: str) -> psycopg.Error:
        with (
            postgres.connect(database, application_name="t") as connection,
            pytest.raises(psycopg.Error) as caught,
        ):
            connection.execute(statement.encode())
        return caught.value

    assert postgres.is_transient(error_of("SELECT pg_terminate_backend(pg_backend_pid())"))
    assert postgres.is_transient(error_of("SET statement_timeout = 1; SELECT pg_sleep(5)"))
    read_only = "BEGIN READ ONLY; CREATE TABLE t (n int)"
    assert postgres.is_transient(error_of(read_only))
    assert not postgres.is_transient(error_of("SELECT 1 / 0"))
    assert not postgres.is_transient(error_of("SELECT nonsense"))
    assert not postgres.is_transient(ValueError("no database error"))
    db.close()
    with pytest.raises(psycopg.OperationalError) as closed:
        db.execute("SELECT 1")
    assert postgres.is_transient(closed.value)


def test_an_error_is_explained_in_one_sentence(db: Db, tmp_path: Path) -> None:
    with pytest.raises(psycopg.OperationalError) as gone:
        psycopg.connect(f"host={tmp_path} dbname=x user=x")
    told = postgres.explain(gone.value)
    assert isinstance(told, NotRunning)
    assert "\n" not in str(told)
    with pytest.raises(psycopg.Error) as wrong:
        db.execute("SELECT nonsense")
    assert not isinstance(postgres.explain(wrong.value), NotRunning)


# --- the listener


@pytest.fixture
def listener(database: str) -> Iterator[postgres.Listener]:
    made = postgres.Listener(database, application_name="ear")
    yield made
    made.close()


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


def test_a_notification_wakes_the_listener_at_once(
    listener: postgres.Listener, db: Db, stop: threading.Event
) -> None:
    assert listener.wait(5, stop), "a fresh connection is a reason to look"
    db.execute("NOTIFY clawd")
    began = time.perf_counter()
    assert listener.wait(5, stop)
    assert time.perf_counter() - began < 0.5
    assert not listener.wait(0.05, stop)


def test_what_was_said_between_two_waits_is_heard_once(
    listener: postgres.Listener, db: Db, stop: threading.Event
) -> None:
    listener.wait(5, stop)
    for _ in range(20):
        db.execute("NOTIFY clawd, 'hint'")
    time.sleep(0.2)
    assert listener.wait(1, stop)
    assert not listener.wait(0.05, stop)


def test_other_channels_do_not_wake_it(
    listener: postgres.Listener, db: Db, stop: threading.Event
) -> None:
    listener.wait(5, stop)
    db.execute("NOTIFY elsewhere")
    assert not listener.wait(0.2, stop)


def test_a_stop_ends_the_wait_within_a_second(
    listener: postgres.Listener, stop: threading.Event
) -> None:
    listener.wait(5, stop)
    threading.Timer(0.1, stop.set).start()
    began = time.perf_counter()
    assert not listener.wait(30, stop)
    assert time.perf_counter() - began < 1.5


def test_a_cut_listener_comes_back_and_hears_again(
    listener: postgres.Listener, db: Db, stop: threading.Event
) -> None:
    listener.wait(5, stop)
    db.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ear'"
    )
    assert listener.wait(10, stop), "after a reconnect there is a reason to look"
    assert not listener.wait(0.05, stop)
    db.execute("NOTIFY clawd")
    assert listener.wait(5, stop)


def test_a_server_that_is_away_is_waited_for_without_an_error(
    tmp_path: Path, stop: threading.Event
) -> None:
    listener = postgres.Listener(f"host={tmp_path} dbname=x user=x")
    began = time.perf_counter()
    assert not listener.wait(0.7, stop)
    assert 0.6 < time.perf_counter() - began < 3
    assert listener.silent_for_s is None


class FrozenPath:
    """A proxy in front of the server's socket that can stop carrying anything, without an end."""

    def __init__(self, target: Path) -> None:
        self._target = str(target)
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        self._sockets: list[socket.socket] = [self._door]
        self.frozen = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._door.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(self._target)
            self._sockets += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                if not self.frozen.is_set():
                    other.sendall(data)
        except OSError:
            return

    def close(self) -> None:
        for each in self._sockets:
            each.close()


def test_a_path_that_froze_without_an_error_is_noticed_by_the_missing_echo(
    database: str,
    db: Db,
    postgres_server: server.Server,
    stop: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listening, "_ECHO_LIMIT_S", 0.5)
    path = FrozenPath(postgres_server.socket_dir / ".s.PGSQL.5432")
    remote = make_conninfo(
        database, host="127.0.0.1", port=path.port, requirepeer="", connect_timeout=2
    )
    listener = postgres.Listener(remote, echo_every_s=0.3)
    try:
        assert listener.wait(5, stop)
        assert not listener.wait(1.5, stop), "its own echo is no reason to look"
        assert (listener.silent_for_s or 9) < 1.2
        path.frozen.set()
        waiting = threading.Timer(2.0, path.frozen.clear)
        waiting.start()
        assert listener.wait(15, stop), "it reconnected by itself"
        db.execute("NOTIFY clawd")
        assert listener.wait(5, stop)
        waiting.join()
    finally:
        listener.close()
        path.close()


# --- text


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=())), st.integers(0, 200))
def test_scrubbed_text_is_valid_bounded_and_stays_as_it_is(text: str, limit: int) -> None:
    clean = postgres.scrub_text(text, limit)
    assert len(clean.encode("utf-8")) <= limit
    assert "\x00" not in clean
    assert postgres.scrub_text(clean, limit) == clean
    if len(text.encode("utf-8", "surrogatepass")) <= limit and clean != text:
        assert any(c == "\x00" or "\ud800" <= c <= "\udfff" for c in text)


def test_what_is_cut_is_marked() -> None:
    assert postgres.scrub_text("ä" * 100, 50).endswith("…[cut]")
    assert postgres.scrub_text("fine", 50) == "fine"
    began = time.perf_counter()
    assert len(postgres.scrub_text("x" * 50_000_000)) <= 65_536
    assert time.perf_counter() - began < 0.5


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@settings(max_examples=200, deadline=None)
@given(JSON)
def test_scrubbed_json_is_strict_json(value: object) -> None:
    text = json.dumps(postgres.scrub_json(value), allow_nan=False, ensure_ascii=False)
    assert text.encode("utf-8")
    assert "\\u0000" not in text


def test_postgres_takes_everything_that_was_scrubbed(db: Db) -> None:
    nasty = "a\x00b\ud800c\udfff" + "😀" * 3
    assert db.execute("SELECT %s::text AS t", [postgres.scrub_text(nasty)]).fetchone() == {
        "t": "a\ufffdb\ufffdc\ufffd😀😀😀"
    }
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    value = {
        nasty: nasty,
        "inf": float("inf"),
        "nan": float("nan"),
        "big": 10**20_000,
        "deep": deep,
        "path": Path("/x"),
        "long": ["y" * 1000] * 100_000,
        7: (1, 2.5, True, None),
    }
    clean = json.dumps(postgres.scrub_json(value), allow_nan=False)
    assert len(clean) < 2_000_000
    stored = db.execute("SELECT %s::jsonb AS j", [clean]).fetchone()
    assert stored is not None
    assert stored["j"]["inf"] is None
    assert stored["j"]["path"] == "/x"
