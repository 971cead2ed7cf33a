"""The schema: both roads to it end in the same place; foreign databases are refused."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from clawd import machine, share
from clawd.adapters import postgres, server
from clawd.adapters.server.locate import find_binaries
from clawd.store import schema
from clawd.store.rows import Db

# One file for each older version that was released: what its schema.sql was.
FROZEN = Path(__file__).parent / "schemas"


def _dump(conninfo: str) -> str:
    """The database's schema as text, without what differs from run to run."""
    command = [str(find_binaries().bin / "pg_dump"), "-s", "--no-owner", "-d", conninfo]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    kept = [line for line in done.stdout.splitlines() if not re.match(r"--|\\|$", line)]
    assert len(kept) > 500
    return "\n".join(kept)


@pytest.fixture
def empty(postgres_server: server.Server, database: str) -> Iterator[str]:
    """A database beside the test's own with nothing in it."""
    with postgres.connect(database, application_name="tests") as db:
        name = f"{db.info.dbname}_empty"
        db.execute(sql.SQL("create database {} template template0").format(sql.Identifier(name)))
    yield make_conninfo(postgres_server.conninfo, dbname=name)
    with postgres.connect(database, application_name="tests") as db:
        db.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def _migrate(conninfo: str, folder: Path | None = None) -> list[str]:
    with postgres.connect(conninfo, application_name="tests") as db:
        return schema.migrate(db, folder)


def test_an_empty_database_gets_the_schema_at_once_and_only_once(empty: str) -> None:
    assert _migrate(empty) == ["schema.sql"]
    assert _migrate(empty) == []


def test_every_released_version_migrates_to_the_same_schema(database: str, empty: str) -> None:
    fresh = _dump(database)
    shipped = [step.version for step in schema.migrations()]
    frozen = {int(path.stem): path for path in sorted(FROZEN.glob("*.sql"))}
    assert sorted(frozen) == shipped[:-1], "freeze schema.sql as it was before the last migration"
    for version, path in frozen.items():
        with postgres.connect(empty, application_name="tests") as db:
            db.execute("drop schema public cascade")
            db.execute("create schema public")
            db.execute(path.read_bytes())
            for step in schema.migrations():
                if step.version <= version:
                    schema._record(db, step)
        _migrate(empty)
        assert _dump(empty) == fresh


def test_a_migration_reaches_an_older_database_as_its_text_says(
    database: str, empty: str, tmp_path: Path
) -> None:
    for step in schema.migrations():
        (tmp_path / f"{step.version:04}_{step.name}.sql").write_text(step.text)
    _migrate(empty, tmp_path)
    number = max(step.version for step in schema.migrations()) + 1
    change = "alter table task add column colour text not null default 'red';"
    (tmp_path / f"{number:04}_colour.sql").write_text(change)
    assert _migrate(empty, tmp_path) == [f"{number:04} colour"]
    assert _migrate(empty, tmp_path) == []
    with postgres.connect(database, application_name="tests") as db:
        db.execute(change)
    assert _dump(empty) == _dump(database)


def test_a_migration_that_fails_leaves_no_trace(empty: str, tmp_path: Path) -> None:
    for step in schema.migrations():
        (tmp_path / f"{step.version:04}_{step.name}.sql").write_text(step.text)
    _migrate(empty, tmp_path)
    before = _dump(empty)
    (tmp_path / "9000_bad.sql").write_text("create table half (a int); select 1 / 0;")
    with pytest.raises(Exception, match="division by zero"):
        _migrate(empty, tmp_path)
    assert _dump(empty) == before


def test_a_database_of_a_newer_clawd_is_refused_and_left_alone(db: Db) -> None:
    db.execute(
        "insert into schema_migration (version, name, sha256, app) values (9999, 'x', 'y', '99.0')"
    )
    with pytest.raises(schema.NewerDatabase) as refused:
        schema.migrate(db)
    assert "99.0" in refused.value.message
    assert refused.value.remedy


def test_an_edited_migration_is_refused(db: Db, tmp_path: Path) -> None:
    for step in schema.migrations():
        (tmp_path / f"{step.version:04}_{step.name}.sql").write_text(step.text + "-- changed\n")
    with pytest.raises(schema.EditedMigration):
        schema.migrate(db, tmp_path)


def test_a_file_that_is_no_migration_is_not_one(tmp_path: Path) -> None:
    for name in ("1_short.sql", "0001-dash.sql", "0001_Upper.sql", "notes.sql"):
        (tmp_path / name).write_text("select 1;")
    assert schema.migrations(tmp_path) == []


@pytest.mark.parametrize("kind", machine.TABLES)
def test_the_database_answers_every_pair_as_the_tables_do(db: Db, kind: str) -> None:
    table = machine.TABLES[kind]
    events = {event for moves in table.values() for event in moves}
    asked = [(state, event) for state in (*table, "nowhere") for event in (*events, "nothing")]
    rows: list[dict[str, Any]] = db.execute(
        sql.SQL("select {}(s, e) as target from unnest(%s::text[], %s::text[]) as x (s, e)").format(
            sql.Identifier(f"clawd_{kind}_next")
        ),
        ([state for state, _ in asked], [event for _, event in asked]),
    ).fetchall()
    assert [row["target"] for row in rows] == [machine.next_state(kind, *pair) for pair in asked]


def test_the_schema_speaks_of_no_other_clock() -> None:
    text = share.path("schema.sql").read_text()
    outside = text.replace("default clock_timestamp()", "", 1).replace(
        "coalesce(nullif(current_setting('clawd.now', true), '')::timestamptz, clock_timestamp())",
        "", 1,
    )  # fmt: skip
    assert not re.search(r"\bnow\(\)|current_timestamp|clock_timestamp", re.sub(
        r"clawd_now\(\)", "", outside
    ))  # fmt: skip
