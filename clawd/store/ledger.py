"""SQL of money: envelopes and the ledger of what was spent."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg.types.json import Jsonb

from clawd.model import Json
from clawd.store.rows import Db


@dataclass(frozen=True, slots=True)
class Envelope:
    """A budget, what is gone from it and what live runs may still take."""

    scope: str
    scope_id: str
    period: str
    limit: int
    spent: int
    reserved: int

    @property
    def left(self) -> int:
        """What a new run may still reserve."""
        return max(0, self.limit - self.spent - self.reserved)


@dataclass(frozen=True, slots=True)
class Entry:
    """One priced reply of the model."""

    request_id: str
    model: str
    tokens: Json
    micros: int
    source: str


def envelope(db: Db, scope: str, scope_id: str, period: str, limit_micros: int) -> Envelope:
    """The envelope, opened with `limit_micros` when it is new; a raised limit stays raised."""
    row = db.execute(
        """with made as (
             insert into envelope (scope, scope_id, period, "limit")
             values (%(scope)s, %(id)s, %(period)s, %(limit)s)
             on conflict (scope, scope_id, period) do nothing
             returning scope, scope_id, period, "limit", spent, reserved)
           select * from made
           union all select scope, scope_id, period, "limit", spent, reserved from envelope
             where (scope, scope_id, period) = (%(scope)s, %(id)s, %(period)s)""",
        {"scope": scope, "id": scope_id, "period": period, "limit": limit_micros},
    ).fetchone()
    if row is None:  # somebody else opened it in the middle of this statement
        return envelope(db, scope, scope_id, period, limit_micros)
    return Envelope(**row)


def set_limit(db: Db, scope: str, scope_id: str, period: str, limit_micros: int) -> None:
    """The operator's new limit of an envelope."""
    db.execute(
        """insert into envelope (scope, scope_id, period, "limit") values (%s, %s, %s, %s)
           on conflict (scope, scope_id, period) do update set "limit" = excluded."limit" """,
        (scope, scope_id, period, limit_micros),
    )


def book(db: Db, run: int, entries: list[Entry]) -> int:
    """Writes what a run spent, each reply once; returns the run's sum in micro-dollars."""
    with db.cursor() as cursor:
        cursor.executemany(
            """insert into ledger (run, request_id, model, tokens, micros, source)
               values (%s, %s, %s, %s, %s, %s) on conflict do nothing""",
            [(run, e.request_id, e.model, Jsonb(e.tokens), e.micros, e.source) for e in entries],
        )
    row = db.execute(
        "select coalesce(sum(micros), 0)::bigint as sum from ledger where run = %s", (run,)
    ).fetchone()
    assert row is not None
    return int(row["sum"])
