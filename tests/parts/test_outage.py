"""The daemon while database or disk give out: longer waits, one word at each end, no blame."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from clawd import config
from clawd.adapters import postgres
from clawd.daemon import outage
from clawd.daemon.outage import Outage, is_outage
from clawd.errors import ClawdError, NotRunning
from clawd.pipeline.desk import Desk

AWAY = psycopg.OperationalError("server closed the connection unexpectedly\n\tand so on")


@pytest.fixture
def desk(home: Path, database: str) -> Iterator[Desk]:
    pool = postgres.open_pool(database, size=2)
    yield Desk(home=home, config=config.load(home), host="here", pool=pool)
    pool.close()


def _told(desk: Desk) -> list[str]:
    with desk.db() as db:
        return [row["body"]["text"] for row in db.execute("select body from outbox order by id")]


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (AWAY, False),
        (psycopg.errors.DiskFull("could not extend file"), False),
        (psycopg.errors.ReadOnlySqlTransaction("cannot execute UPDATE"), False),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (ClawdError("git: unable to write: No space left on device", ""), False),
        (psycopg.errors.UniqueViolation("twice"), True),
        (FileNotFoundError(errno.ENOENT, "gone"), True),
        (ValueError("a bug"), True),
    ],
)
def test_what_time_or_a_person_ends_is_no_fault_of_a_loop(error: Exception, ours: bool) -> None:
    assert is_outage(error) is not ours


def test_waits_grow_and_stay_bounded(desk: Desk) -> None:
    away = Outage(desk, lambda: None)
    waits = [away.met(AWAY, number) for number in (1, 2, 3, 50)]
    assert waits[0] < 1.5
    assert waits[0] < waits[2]
    assert all(wait < 1.3 * outage._LONGEST_WAIT_S for wait in waits)


def test_every_loop_meets_one_outage_and_it_is_told_once(
    desk: Desk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage, "_WORTH_TELLING_S", -1.0)
    away = Outage(desk, lambda: None)
    with caplog.at_level(logging.ERROR):
        for number in range(1, 8):
            away.met(AWAY, number)
    assert [record.message for record in caplog.records] == ["outage"]
    for _ in range(7):
        away.over()
    assert len(_told(desk)) == 1
    assert "went on by itself: server closed the connection unexpectedly" in _told(desk)[0]


def test_a_hiccup_is_told_nobody(desk: Desk) -> None:
    away = Outage(desk, lambda: None)
    away.met(AWAY, 1)
    away.over()
    assert _told(desk) == []


def test_a_server_that_cannot_be_brought_back_is_tried_again(desk: Desk) -> None:
    tried = []

    def revive() -> None:
        tried.append(1)
        raise NotRunning("It does not start.", "Look at its log.")

    away = Outage(desk, revive)
    for number in (1, 2):
        away.met(AWAY, number)
    assert len(tried) == 2
