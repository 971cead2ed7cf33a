"""SQL of lineage: reading the chain of decisions and checking that it is whole."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from clawd.model import Json
from clawd.store.rows import Db, columns, many


@dataclass(frozen=True, slots=True)
class Decision:
    """One row of the chain."""

    id: int
    at: datetime
    chain: str
    run: int | None
    actor: str
    action: str
    subject: str
    why: str
    inputs: Json
    policy: str
    version: str
    model: str
    prompt_hash: str
    evidence: list[int]
    hash: str


def of_chain(db: Db, kind: str, subject: int) -> list[Decision]:
    """Every decision about a task, goal or project, in order."""
    return many(
        db,
        Decision,
        f"select {columns(Decision)} from lineage where chain = %s order by id",
        (f"{kind}:{subject}",),
    )


def first_bad_row(db: Db) -> str | None:
    """What is wrong with the chains, in one sentence; None when every link holds."""
    row = db.execute(
        """with link as (
             select l.id, l.chain, l.prev, l.hash, clawd_lineage_hash(l) as right_hash,
               lag(l.hash, 1, '') over (partition by l.chain order by l.id) as before
             from lineage l)
           select id, chain, hash <> right_hash as edited from link
           where hash <> right_hash or prev <> before order by id limit 1"""
    ).fetchone()
    if row is not None:
        what = "was edited" if row["edited"] else "does not follow the row before it"
        return f"Lineage row {row['id']} of {row['chain']} {what}."
    return _first_cut_tail(db) or _first_gap(db) or _first_wrong_state(db)


def _first_cut_tail(db: Db) -> str | None:
    row = db.execute(
        """with heads as (
             select 'task:' || id as chain, chain_head from task
             union all select 'goal:' || id, chain_head from goal
             union all select 'project:' || id, chain_head from project)
           select h.chain from heads h
           left join lateral (select hash from lineage l where l.chain = h.chain
             order by id desc limit 1) last on true
           where coalesce(last.hash, '') <> h.chain_head order by 1 limit 1"""
    ).fetchone()
    return None if row is None else f"The chain of {row['chain']} does not end at its head."


def _first_gap(db: Db) -> str | None:
    row = db.execute(
        """with step as (
             select id, kind, subject, from_state, to_state,
               lag(to_state) over (partition by kind, subject order by id) as before from history)
           select kind, subject, from_state, to_state, before from step
           where before <> from_state order by id limit 1"""
    ).fetchone()
    if row is None:
        return None
    return (
        f"The history of {row['kind']} {row['subject']} has a gap: "
        f"{row['from_state']} follows {row['before']}."
    )


def _first_wrong_state(db: Db) -> str | None:
    row = db.execute(
        """with last as (
             select distinct on (kind, subject) kind, subject, to_state from history
             order by kind, subject, id desc),
           now as (select 'task' as kind, id, state from task
             union all select 'goal', id, state from goal
             union all select 'run', id, state from run)
           select n.kind, n.id, n.state, l.to_state from last l
           join now n on (n.kind, n.id) = (l.kind, l.subject)
           where n.state <> l.to_state order by 1, 2 limit 1"""
    ).fetchone()
    if row is None:
        return None
    return (
        f"{row['kind'].capitalize()} {row['id']} is {row['state']}, "
        f"but its history ends at {row['to_state']}."
    )


def heads(db: Db) -> Json:
    """How many rows and chains stand, for whoever anchors them outside."""
    row = db.execute(
        "select count(*) as rows, count(distinct chain) as chains from lineage"
    ).fetchone()
    assert row is not None
    return dict(row)
