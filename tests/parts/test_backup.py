"""A backup that comes back, and one that does not."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from clawd.adapters import dump, postgres
from clawd.errors import UsageError
from clawd.store import lineage


def test_a_restored_backup_is_the_database_of_then_and_the_one_of_now_is_kept(
    database: str, tmp_path: Path
) -> None:
    with postgres.connect(database, application_name="test") as db:
        db.execute("insert into pause (scope, reason, by) values ('all', 'then', 'test')")
    saved = dump.dump(database, tmp_path, datetime.now(UTC))
    with postgres.connect(database, application_name="test") as db:
        db.execute("update pause set reason = 'now'")
    kept = dump.restore(database, saved, datetime.now(UTC))
    with postgres.connect(database, application_name="test") as db:
        row = db.execute("select reason from pause").fetchone()
        assert row is not None
        assert row["reason"] == "then"
        assert lineage.first_bad_row(db) is None
        assert db.execute("select 1 from pg_database where datname = %s", (kept,)).fetchone()
        db.execute(f'drop database "{kept}" with (force)')  # type: ignore[arg-type]


def test_a_backup_that_is_not_there_is_one_sentence(database: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no backup"):
        dump.restore(database, tmp_path / "nothing.dump", datetime.now(UTC))


def test_a_broken_backup_changes_nothing(database: str, tmp_path: Path) -> None:
    broken = tmp_path / "clawd-20261121T000000.dump"
    broken.write_bytes(b"PGDMP and then nothing")
    with pytest.raises(Exception, match="pg_restore failed"):
        dump.restore(database, broken, datetime.now(UTC))
    with postgres.connect(database, application_name="test") as db:
        assert db.execute("select count(*) as n from task").fetchone() == {"n": 0}
