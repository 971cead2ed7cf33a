"""The chain of decisions: whole as it grows, and any edit, gap or cut in it is named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from clawd.model import Facts
from clawd.store import lineage, moves
from clawd.store.rows import Db
from tests.parts.steer_ground import World, make_world, whole_story


@pytest.fixture
def world(db: Db, tmp_path: Path) -> World:
    found = make_world(db, tmp_path)
    whole_story(found)
    return found


@pytest.fixture
def forge(world: World) -> Callable[..., None]:
    """Runs SQL as somebody would who owns the tables and takes the guards away."""

    def run(statement: str, *parameters: object) -> None:
        db = world.db
        for table in ("lineage", "history"):
            db.execute(f"alter table {table} disable trigger user")
        db.execute(statement, parameters)
        for table in ("lineage", "history"):
            db.execute(f"alter table {table} enable trigger user")

    return run


def _rows(db: Db, chain: str) -> list[int]:
    return [row["id"] for row in db.execute(
        "select id from lineage where chain = %s order by id", (chain,)
    )]  # fmt: skip


def test_a_whole_story_verifies(world: World) -> None:
    assert lineage.first_bad_row(world.db) is None
    heads = lineage.heads(world.db)
    assert heads["rows"] > 30
    assert heads["chains"] >= 7


@pytest.mark.parametrize(
    "change",
    [
        "why = why || '!'",
        "actor = 'somebody'",
        "action = 'pass'",
        "inputs = '{\"x\": 1}'",
        "at = at + interval '1 second'",
        "evidence = '{99}'",
        "run = 99",
        "policy = 'other'",
        "model = 'other'",
        "prompt_hash = 'other'",
    ],
)
def test_an_edited_row_is_named(world: World, forge: Callable[..., None], change: str) -> None:
    row = _rows(world.db, "task:1")[3]
    forge(f"update lineage set {change} where id = %s", row)  # noqa: S608
    assert lineage.first_bad_row(world.db) == f"Lineage row {row} of task:1 was edited."


def test_an_edited_row_with_a_fresh_hash_breaks_the_row_after_it(
    world: World, forge: Callable[..., None]
) -> None:
    row, after = _rows(world.db, "task:1")[3:5]
    forge("update lineage set why = 'nicer' where id = %s", row)
    forge("update lineage l set hash = clawd_lineage_hash(l) where id = %s", row)
    found = lineage.first_bad_row(world.db)
    assert found == f"Lineage row {after} of task:1 does not follow the row before it."


def test_a_deleted_row_is_named_by_the_one_after_it(
    world: World, forge: Callable[..., None]
) -> None:
    row, after = _rows(world.db, "task:1")[2:4]
    forge("delete from lineage where id = %s", row)
    found = lineage.first_bad_row(world.db)
    assert found == f"Lineage row {after} of task:1 does not follow the row before it."


def test_swapped_rows_are_named(world: World, forge: Callable[..., None]) -> None:
    first, second = _rows(world.db, "task:1")[3:5]
    forge(
        """update lineage set (actor, action, why, hash, prev, run, at) =
             (select o.actor, o.action, o.why, o.hash, o.prev, o.run, o.at from lineage o
              where o.id = case lineage.id when %s then %s else %s end)
           where id in (%s, %s)""",
        first, second, first, first, second,
    )  # fmt: skip
    found = lineage.first_bad_row(world.db)
    assert found is not None
    assert f"row {first} of task:1" in found


def test_a_cut_tail_is_named(world: World, forge: Callable[..., None]) -> None:
    forge("delete from lineage where id = %s", _rows(world.db, "task:1")[-1])
    assert lineage.first_bad_row(world.db) == "The chain of task:1 does not end at its head."


def test_a_chain_that_is_gone_is_named(world: World, forge: Callable[..., None]) -> None:
    forge("delete from lineage where chain = 'goal:1'")
    assert lineage.first_bad_row(world.db) == "The chain of goal:1 does not end at its head."


def test_a_row_that_was_slipped_in_is_named(world: World) -> None:
    world.db.execute(
        """insert into lineage (at, chain, task, actor, action, subject, why, prev, hash)
           select at, chain, task, actor, 'pass', subject, 'trust me', prev, hash
           from lineage where chain = 'task:1' order by id limit 1"""
    )
    found = lineage.first_bad_row(world.db)
    assert found is not None
    assert "of task:1" in found


def test_a_history_that_was_cut_does_not_lead_to_the_state(
    world: World, forge: Callable[..., None]
) -> None:
    forge("delete from history where id = (select max(id) from history where kind = 'task' "
          "and subject = 1)")  # fmt: skip
    found = lineage.first_bad_row(world.db)
    assert found == "Task 1 is done, but its history ends at verifying."


def test_a_history_with_a_gap_is_named(world: World, forge: Callable[..., None]) -> None:
    forge("delete from history where kind = 'task' and subject = 1 and event = 'start'")
    found = lineage.first_bad_row(world.db)
    assert found == "The history of task 1 has a gap: running follows claimed."


def test_every_move_has_its_row_in_the_same_transaction(world: World) -> None:
    db = world.db
    alone = db.execute(
        "select count(*) as n from history h where not exists "
        "(select from lineage l where l.id = h.lineage)"
    ).fetchone()
    assert alone == {"n": 0}
    task = world.task("undone").id

    def move_and_die() -> None:
        with db.transaction():
            moves.move_task(db, task, "park", why="x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        move_and_die()
    assert world.state(task) == "backlog"
    assert lineage.first_bad_row(db) is None


def test_the_hash_can_be_computed_outside_the_database(world: World) -> None:
    """What another language must do: the listed values as compact jsonb text, sha256."""
    facts = Facts({"z": 1, "a": [True, None, "ü"]}, policy="p", evidence=(1, 2))
    moves.tell(world.db, "task", 1, "say", "so", facts=facts)
    row = world.db.execute(
        """select *, to_char(at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US') as stamp
           from lineage where chain = 'task:1' order by id desc limit 1"""
    ).fetchone()
    assert row is not None
    inputs = dict(sorted(row["inputs"].items(), key=lambda item: (len(item[0]), item[0])))
    listed = [
        row["prev"], row["stamp"], row["chain"], row["task"], row["goal"], row["run"],
        row["project"], row["actor"], row["action"], row["subject"], row["why"], inputs,
        row["policy"], row["version"], row["model"], row["prompt_hash"], row["evidence"],
    ]  # fmt: skip
    text = json.dumps(listed, ensure_ascii=False)
    assert hashlib.sha256(text.encode()).hexdigest() == row["hash"]
