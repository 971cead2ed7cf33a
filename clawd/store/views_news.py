"""Read model of what happens: moves and notices, as lines for a person."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from clawd.store.rows import Db, many


@dataclass(frozen=True, slots=True)
class News:
    """One line; `id` is the outbox row it came with."""

    id: int
    at: datetime
    text: str


@dataclass(frozen=True, slots=True)
class Notice:
    """One message to the operator."""

    id: int
    at: datetime
    level: str
    text: str
    take: str
    undo: str


def newest(db: Db) -> int:
    """Where the news stands now."""
    row = db.execute("select coalesce(max(id), 0) as id from outbox").fetchone()
    assert row is not None
    return int(row["id"])


def since(db: Db, seen: int) -> list[News]:
    """Moves of tasks and goals and notices after `seen`, in order."""
    rows = db.execute(
        """select o.id, o.at, o.channel, o.body, coalesce(t.title, g.title, '') as title
           from outbox o
           left join task t on o.body ->> 'kind' = 'task' and t.id = (o.body ->> 'id')::bigint
           left join goal g on o.body ->> 'kind' = 'goal' and g.id = (o.body ->> 'id')::bigint
           where o.id > %s order by o.id limit 200""",
        (seen,),
    )
    return [News(row["id"], row["at"], _text(row)) for row in rows]


def notices(db: Db, limit: int) -> list[Notice]:
    """What the operator was told, the newest first."""
    return many(
        db,
        Notice,
        """select id, at, level, coalesce(body ->> 'text', '') as text,
             coalesce(body ->> 'take', '') as take, coalesce(body ->> 'undo', '') as undo
           from outbox where channel = 'operator' order by id desc limit %s""",
        (limit,),
    )


def _text(row: dict[str, Any]) -> str:
    body = row["body"]
    if row["channel"] == "operator":
        return str(body.get("text", ""))
    moved = str(body.get("to", "")).replace("_", " ")
    return f"{body.get('kind')} {body.get('id')} {body.get('event')}: {moved}  {row['title']}"
