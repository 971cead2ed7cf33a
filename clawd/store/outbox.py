"""SQL of the outbox: messages leave at least once, each under its own key."""

from __future__ import annotations

from typing import Any

from psycopg.types.json import Jsonb

from clawd.model import Json
from clawd.store.rows import Db

OPERATOR = "operator"


def put(db: Db, level: str, body: Json, dedupe: str | None = None) -> None:
    """A message to the operator, in the transaction of what it tells; the same key goes once."""
    db.execute(
        """insert into outbox (channel, level, body, dedupe) values (%s, %s, %s, %s)
           on conflict (channel, dedupe) where dedupe is not null do nothing""",
        (OPERATOR, level, Jsonb(body), dedupe),
    )


def due(db: Db, channel: str = OPERATOR, limit: int = 50) -> list[dict[str, Any]]:
    """What has not left yet, in order."""
    return db.execute(
        """select id, level, body, dedupe, tries, at from outbox
           where channel = %s and state = 'due' and (next_at is null or next_at <= clawd_now())
           order by id limit %s""",
        (channel, limit),
    ).fetchall()


def sent(db: Db, message: int, receipt: str) -> None:
    """A message left; the receipt says how we know."""
    db.execute("update outbox set state = 'sent', receipt = %s where id = %s", (receipt, message))


def recent(db: Db, channel: str = OPERATOR, limit: int = 20) -> list[dict[str, Any]]:
    """The last messages, newest first."""
    return db.execute(
        """select id, level, body, state, at from outbox where channel = %s
           order by id desc limit %s""",
        (channel, limit),
    ).fetchall()


def trim_feed(db: Db, keep: int) -> None:
    """The feed is a hint for live views; only its newest rows are kept."""
    db.execute(
        "delete from outbox where channel = 'feed' and id < (select max(id) - %s from outbox)",
        (keep,),
    )
