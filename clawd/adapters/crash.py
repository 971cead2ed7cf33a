"""Named places where a test may kill the daemon, to prove that dying there loses nothing.

`CLAWD_CRASH=name:n` kills this process, as `kill -9` would, the n-th time it comes to `name`.
`CLAWD_CRASH_LOG=file` notes every place that is passed, so that none stays unproven.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter

POINTS = (
    "sync.before", "sync.mid",
    "layer.before", "layer.after",
    "roadmap.before", "roadmap.after",
    "specify.before", "specify.after",
    "plan.opened", "plan.started", "plan.before", "plan.after",
    "claim.after",
    "checkout.before", "checkout.after",
    "spawn.before", "spawn.mid", "spawn.after",
    "stream.after",
    "result.before", "snapshot.mid", "snapshot.after", "settle.after",
    "check.before", "check.mid", "check.after",
    "review.before", "review.after",
    "verdict.before", "verdict.after",
    "tests.after", "merge_test.before", "merge_test.after",
    "bounce.before", "bounce.after",
    "land.before", "land.mid", "land.after", "land.told",
    "prove.before", "prove.after", "goal.after",
    "tick.before", "tick.mid", "tick.after",
    "undo.before", "undo.mid",
    "cleanup.before", "cleanup.after",
    "restore.before", "restore.mid", "restore.after",
    "lose.before", "lose.after",
    "fence.before", "fence.mid", "fence.after",
)  # fmt: skip

_wanted, _, _times = os.environ.get("CLAWD_CRASH", "").partition(":")
_log = os.environ.get("CLAWD_CRASH_LOG", "")
_seen: Counter[str] = Counter()
_lock = threading.Lock()


def point(name: str) -> None:
    """A place where the process may die; nothing at all unless a test asks for it."""
    if not _wanted and not _log:
        return
    if name not in POINTS:
        raise AssertionError(f"crash point {name} is not listed")
    with _lock:
        _seen[name] += 1
        if _log:
            with open(_log, "a", encoding="utf-8") as file:
                file.write(f"{name}\n")
        if name == _wanted and _seen[name] == int(_times or 1):
            os.kill(os.getpid(), signal.SIGKILL)
