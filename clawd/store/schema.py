"""Brings a database to this version's schema and refuses one that is newer or edited."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from clawd import __version__, share
from clawd.errors import Refused
from clawd.store.rows import Db

_LOCK_KEY = 0x636C617764  # "clawd": one migrator at a time, for the length of a transaction
_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")


class NewerDatabase(Refused):
    """The database was written by a newer clawd."""


class EditedMigration(Refused):
    """A migration that was applied is not the file of today."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file of migrations/."""

    version: int
    name: str
    text: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def migrations(folder: Path | None = None) -> list[Migration]:
    """Every migration this version ships, in order."""
    found = []
    for path in sorted((folder or share.path("migrations")).glob("*.sql")):
        match = _NAME.fullmatch(path.name)
        if match:
            found.append(Migration(int(match[1]), match[2], path.read_text()))
    return found


def migrate(db: Db, folder: Path | None = None) -> list[str]:
    """Applies what is missing; a fresh database gets schema.sql at once. Returns what was done."""
    known = migrations(folder)
    with db.transaction():
        db.execute("select pg_advisory_xact_lock(%s)", (_LOCK_KEY,))
        if _is_empty(db):
            db.execute(share.path("schema.sql").read_text())
            for step in known:
                _record(db, step)
            return ["schema.sql"]
        applied = {row["version"]: row for row in db.execute("select * from schema_migration")}
        _refuse_newer_or_edited(known, applied)
        missing = [step for step in known if step.version not in applied]
        for step in missing:
            db.execute(step.text)
            _record(db, step)
        return [f"{step.version:04} {step.name}" for step in missing]


def _is_empty(db: Db) -> bool:
    row = db.execute("select to_regclass('schema_migration') is null as empty").fetchone()
    return bool(row and row["empty"])


def _refuse_newer_or_edited(known: list[Migration], applied: dict[int, dict[str, str]]) -> None:
    by_version = {step.version: step for step in known}
    for version, row in sorted(applied.items()):
        step = by_version.get(version)
        if step is None:
            raise NewerDatabase(
                f"This database was written by clawd {row['app']} (schema {version}), "
                f"which is newer than this one ({__version__}).",
                "Install that version of clawd, or point CLAWD_HOME at another home.",
            )
        if step.sha256 != row["sha256"]:
            raise EditedMigration(
                f"Migration {version:04} {step.name} was changed after it was applied.",
                "Restore the file as it was released; changes belong in a new migration.",
            )


def _record(db: Db, step: Migration) -> None:
    db.execute(
        "insert into schema_migration (version, name, sha256, app) values (%s, %s, %s, %s)",
        (step.version, step.name, step.sha256, __version__),
    )
