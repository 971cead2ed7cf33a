"""SQL of circuit breakers."""

from __future__ import annotations

from datetime import datetime

from clawd.policy import breaker
from clawd.policy.breaker import Breaker, Standing
from clawd.store.rows import Db

Key = tuple[str, str]


def all_open(db: Db) -> dict[Key, Breaker]:
    """Every breaker that is not closed."""
    rows = db.execute("select * from breaker where state <> 'closed'")
    return {(row["scope"], row["key"]): _read(row) for row in rows}


def note(db: Db, scope: str, key: str, *, ok: bool | None, now: datetime) -> Breaker | None:
    """Counts one outcome; the breaker when it has just opened."""
    row = db.execute(
        "select * from breaker where (scope, key) = (%s, %s) for update", (scope, key)
    ).fetchone()
    before = Breaker() if row is None else _read(row)
    if row is None and ok is not False:
        return None
    then = breaker.after(scope, before, ok=ok, now=now)
    _write(db, scope, key, then)
    opened = then.state is Standing.OPEN and before.state is not Standing.OPEN
    return then if opened else None


def probe(db: Db, keys: list[Key]) -> None:
    """A run starts through these breakers: it is their one probe."""
    scopes, names = zip(*keys, strict=True)
    db.execute(
        """update breaker set state = 'half_open', probe_at = clawd_now() + %s
           where (scope, key) in (select * from unnest(%s::text[], %s::text[]))
             and state <> 'closed'""",
        (breaker.PROBE_WITHIN, list(scopes), list(names)),
    )


def hurry(db: Db, project: str | None = None) -> bool:
    """Whatever rests may be tried now, of one project or all; whether anything rested."""
    rows = db.execute(
        """update breaker set state = 'open', probe_at = clawd_now()
           where state <> 'closed' and probe_at > clawd_now()
             and (%(project)s::text is null or (scope, key) = ('project', %(project)s))""",
        {"project": project},
    )
    return rows.rowcount > 0


def _read(row: dict[str, object]) -> Breaker:
    probe_at = row["probe_at"]
    assert probe_at is None or isinstance(probe_at, datetime)
    return Breaker(Standing(str(row["state"])), int(str(row["fails"])), probe_at)


def _write(db: Db, scope: str, key: str, found: Breaker) -> None:
    db.execute(
        """insert into breaker (scope, key, state, fails, probe_at) values (%s, %s, %s, %s, %s)
           on conflict (scope, key) do update set state = excluded.state, fails = excluded.fails,
             probe_at = excluded.probe_at""",
        (scope, key, found.state.value, found.fails, found.probe_at),
    )
