"""pytest fixtures shared by every test: a Postgres, a home, repositories."""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import DictRow

from clawd import share
from clawd.adapters import postgres, server

# What a developer's shell says must not decide how a test ends.
_FOREIGN = ("GIT_", "ANTHROPIC_", "CLAUDE", "PG", "CLAWD_")
for _name in [name for name in os.environ if name.startswith(_FOREIGN)]:
    if not _name.startswith("CLAWD_TEST_"):
        del os.environ[_name]

_TEMPLATE = "clawd_template"
_TEST_SETTINGS = "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n"
# Outlives a killed test run: when its input ends, the last user's server and data go.
_GUARD = """
import fcntl, os, sys
from pathlib import Path
from clawd.adapters import server
sys.stdin.read()
users = os.open(sys.argv[2], os.O_RDWR)
try:
    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(0)
server.discard(Path(sys.argv[1]))
"""


@contextmanager
def _held(path: Path, how: int) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for the whole test session, shared by all its workers."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def postgres_server(session_folder: Path) -> Iterator[server.Server]:
    """One server for the whole test session; the last worker (or its guard) removes it."""
    home, users = session_folder / "postgres-home", session_folder / "postgres-users.lock"
    with _held(users, fcntl.LOCK_SH):
        guard = subprocess.Popen(
            [sys.executable, "-c", _GUARD, str(home), str(users)],
            stdin=subprocess.PIPE,
            cwd=Path(__file__).parents[1],
            start_new_session=True,
        )
        with _held(session_folder / "postgres-start.lock", fcntl.LOCK_EX):
            (home / "pg").mkdir(mode=0o700, parents=True, exist_ok=True)
            (home / "pg" / "postgresql.local.conf").write_text(_TEST_SETTINGS)
            running = server.ensure_running(home)
            _make_template(running.conninfo)
        yield running
    assert guard.stdin is not None
    guard.stdin.close()
    guard.wait(timeout=60)


def _make_template(conninfo: str) -> None:
    """A database with the whole schema, which every test gets a copy of."""
    with postgres.connect(conninfo, application_name="tests") as connection:
        known = "SELECT 1 FROM pg_database WHERE datname = %s"
        if connection.execute(known, [_TEMPLATE]).fetchone():
            return
        connection.execute(f"DROP DATABASE IF EXISTS {_TEMPLATE}_draft WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {_TEMPLATE}_draft")
        draft = make_conninfo(conninfo, dbname=f"{_TEMPLATE}_draft")
        with postgres.connect(draft, application_name="tests") as fresh:
            _load_schema(fresh)
        connection.execute(f"ALTER DATABASE {_TEMPLATE}_draft RENAME TO {_TEMPLATE}")


def _load_schema(connection: psycopg.Connection[DictRow]) -> None:
    try:
        from clawd.store import schema
    except ImportError:
        connection.execute(share.path("schema.sql").read_bytes())
        return
    schema.migrate(connection)


_numbers = itertools.count(1)


@pytest.fixture
def database(postgres_server: server.Server) -> Iterator[str]:
    """The conninfo of a fresh database with the schema, dropped after the test."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    template = sql.Identifier(_TEMPLATE)
    with postgres.connect(postgres_server.conninfo, application_name="tests") as keeper:
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY")
        keeper.execute(create.format(sql.Identifier(name), template))
    yield make_conninfo(postgres_server.conninfo, dbname=name)
    with postgres.connect(postgres_server.conninfo, application_name="tests") as keeper:
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        keeper.execute(drop.format(sql.Identifier(name)))


@pytest.fixture
def db(database: str) -> Iterator[psycopg.Connection[DictRow]]:
    """An open connection (autocommit, rows as dicts) to the test's own database."""
    with postgres.connect(database, application_name="tests") as connection:
        yield connection


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty CLAWD_HOME, 0700, with a short path; its server, if one was started, is removed."""
    folder = Path(tempfile.mkdtemp(prefix="cl-", dir="/tmp")).resolve()
    try:
        yield folder
    finally:
        if (folder / "pg").exists():
            server.discard(folder)
        shutil.rmtree(folder, ignore_errors=True)


MakeRepo = Callable[..., Path]


@pytest.fixture
def make_repo(tmp_path: Path) -> MakeRepo:
    """Makes a real repository from `{path: content}`, with one commit on main."""

    def make(
        files: dict[str, str | bytes] | None = None,
        *,
        name: str = "repo",
        message: str = "first",
    ) -> Path:
        root = tmp_path / name
        root.mkdir(parents=True)
        for path, content in (files or {"README.md": "# sample\n"}).items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.encode() if isinstance(content, str) else content)
        for command in (
            ["init", "-q", "-b", "main"],
            ["add", "-A"],
            ["commit", "-q", "--allow-empty", "-m", message],
        ):
            subprocess.run(["git", *command], cwd=root, env=_git_environ(), check=True, timeout=60)
        return root

    return make


def _git_environ() -> dict[str, str]:
    person = {"NAME": "Test Person", "EMAIL": "test@example.invalid"}
    identity = {f"GIT_{w}_{k}": v for w in ("AUTHOR", "COMMITTER") for k, v in person.items()}
    apart = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **identity, **apart}
