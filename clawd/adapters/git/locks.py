"""Lock files a dead git left in the hub: removed only when nobody alive can own them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

from clawd.adapters.git.command import LONGEST_CALL_S

STALE_AFTER_S = 120.0
assert STALE_AFTER_S > LONGEST_CALL_S  # noqa: S101 - else a living git could lose its lock


def clear_stale(hub: Path, names: Iterable[str] | None = None) -> list[Path]:
    """Remove old locks (of `names`, else all) when no git works in this hub; say which."""
    found = _named(hub, names) if names is not None else _all(hub)
    old = [lock for lock in found if _age_s(lock) > STALE_AFTER_S]
    if not old or _in_use(hub):
        return []
    for lock in old:
        lock.unlink(missing_ok=True)
    return old


def _named(hub: Path, names: Iterable[str]) -> list[Path]:
    return [hub / f"{name}.lock" for name in (*names, "packed-refs")]


def _all(hub: Path) -> list[Path]:
    return [*hub.glob("*.lock"), *(hub / "refs").rglob("*.lock")]


def _age_s(lock: Path) -> float:
    with contextlib.suppress(OSError):
        return time.time() - lock.stat().st_mtime
    return 0.0


def _in_use(hub: Path) -> bool:
    for process in psutil.process_iter(["name", "cmdline"]):
        if (process.info["name"] or "").startswith("git") and any(
            str(hub) in word for word in process.info["cmdline"] or ()
        ):
            return True
    return False
