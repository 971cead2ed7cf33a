"""Backs the database up with pg_dump and brings a backup back, keeping what it replaces."""

from __future__ import annotations

import os
import re
import subprocess
from datetime import datetime
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from clawd.adapters.server.locate import CHILD_ENVIRON, find_binaries
from clawd.errors import ClawdError, UsageError

DEADLINE_S = 1800
_NAME = re.compile(r"clawd-\d{8}T\d{6}\.dump")


def dump(conninfo: str, folder: Path, now: datetime) -> Path:
    """One backup file in `folder`, complete or not there at all."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"clawd-{now:%Y%m%dT%H%M%S}.dump"
    making = path.with_suffix(".making")
    _run("pg_dump", ["--format=custom", f"--file={making}", f"--dbname={conninfo}"])
    with making.open("rb") as file:
        os.fsync(file.fileno())
    making.chmod(0o600)
    making.rename(path)
    return path


def dumps(folder: Path) -> list[Path]:
    """The backups of a folder, oldest first."""
    return sorted(p for p in folder.glob("clawd-*.dump") if _NAME.fullmatch(p.name))


def restore(conninfo: str, file: Path, now: datetime) -> str:
    """Puts a backup in the database's place; returns the name the old one is kept under."""
    if not file.is_file():
        raise UsageError(f"There is no backup at {file}.", "List them: clawd backup --list")
    parts = conninfo_to_dict(conninfo)
    name = str(parts.get("dbname") or "clawd")
    fresh, kept = f"{name}_restoring", f"{name}_before_{now:%Y%m%dT%H%M%S}"
    with psycopg.connect(make_conninfo(conninfo, dbname="postgres"), autocommit=True) as db:
        db.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(fresh)))
        db.execute(sql.SQL("create database {} template template0").format(sql.Identifier(fresh)))
        target = make_conninfo(conninfo, dbname=fresh)
        try:
            _run("pg_restore", ["--exit-on-error", "--no-owner", f"--dbname={target}", str(file)])
        except ClawdError:
            db.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(fresh)))
            raise
        _swap(db, name, fresh, kept)
    return kept


def _swap(db: psycopg.Connection[tuple[object, ...]], name: str, fresh: str, kept: str) -> None:
    db.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))
    for old, new in ((name, kept), (fresh, name)):
        db.execute(
            sql.SQL("alter database {} rename to {}").format(
                sql.Identifier(old), sql.Identifier(new)
            )
        )


def _run(program: str, arguments: list[str]) -> None:
    path = find_binaries().bin / program
    try:
        done = subprocess.run(
            [str(path), "--no-password", *arguments],
            env=CHILD_ENVIRON, stdin=subprocess.DEVNULL, capture_output=True,
            timeout=DEADLINE_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClawdError(f"{program} did not run: {error}.", "See `clawd doctor`.") from error
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no message"]
        raise ClawdError(f"{program} failed: {said[0]}", "Nothing was changed.")
