"""SQL of evidence: facts the daemon checked itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg.types.json import Jsonb

from clawd.model import Json
from clawd.store.rows import Db


def add(
    db: Db,
    *,
    task: int | None,
    run: int | None,
    kind: str,
    claim: str,
    proven: bool,
    digest: str = "",
    check_spec: Json | None = None,
    artifact_path: str = "",
) -> int:
    """A claim and whether the daemon's own check bore it out."""
    row = db.execute(
        """insert into evidence (task, run, kind, claim, check_spec, digest, state, artifact_path)
           values (%s, %s, %s, %s, %s, %s, %s, %s) returning id""",
        (
            task,
            run,
            kind,
            claim,
            Jsonb(check_spec or {}),
            digest,
            "proven" if proven else "refuted",
            artifact_path,
        ),
    ).fetchone()
    assert row is not None
    return int(row["id"])


def of_task(db: Db, task: int) -> list[dict[str, Any]]:
    """What was claimed and checked for a task, in order."""
    return db.execute(
        """select id, run, kind, claim, check_spec, digest, state, checked, artifact_path
           from evidence where task = %s order by id""",
        (task,),
    ).fetchall()


def flaked(db: Db, project: int, name: str, tree: str) -> None:
    """A test that was red and green on the same tree."""
    db.execute(
        """insert into evidence (kind, claim, check_spec, digest, state)
           values ('flaky', %s, %s, %s, 'proven')""",
        (name, Jsonb({"project": project}), tree),
    )


def flakes_of_week(db: Db, project: int, names: Sequence[str]) -> dict[str, int]:
    """How often each of these tests flaked in the last seven days."""
    rows = db.execute(
        """select claim, count(*)::int as n from evidence
           where kind = 'flaky' and claim = any (%s) and check_spec = %s
             and checked > clawd_now() - interval '7 days' group by claim""",
        (list(names), Jsonb({"project": project})),
    )
    return {row["claim"]: row["n"] for row in rows}


def week(db: Db) -> str:
    """This week, as a key."""
    row = db.execute("select to_char(clawd_now(), 'IYYY-IW') as week").fetchone()
    assert row is not None
    return str(row["week"])
