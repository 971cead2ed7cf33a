"""What a foreground run says while it works: every move of a task or goal, and every notice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from clawd.cli import show
from clawd.cli.session import Session, open_running_db

if TYPE_CHECKING:
    from clawd.store.rows import Db

EVERY_S = 1.0


@contextmanager
def telling(session: Session) -> Iterator[None]:
    """Prints beside the daemon until the block ends."""
    stop = threading.Event()
    teller = threading.Thread(target=_tell, args=(session, stop), name="telling", daemon=True)
    teller.start()
    try:
        yield
    finally:
        stop.set()
        teller.join(5)


def _tell(session: Session, stop: threading.Event) -> None:
    seen: int | None = None
    while not stop.wait(EVERY_S):
        db = open_running_db(session)
        if db is None:
            continue
        try:
            seen = _print_news(db, seen, stop)
        except Exception:  # noqa: S110 - the database went away; the next round looks again
            pass
        finally:
            db.close()


def _print_news(db: Db, seen: int | None, stop: threading.Event) -> int | None:
    """Keeps one connection while it lasts."""
    from clawd.store import views_news  # noqa: PLC0415 - needs the database driver

    if seen is None:
        seen = views_news.newest(db)
    while not stop.wait(EVERY_S):
        for line in views_news.since(db, seen):
            show.line(f"{line.at.astimezone():%H:%M:%S}  {show.one_line(line.text, 300)}")
            seen = max(seen, line.id)
    return seen
