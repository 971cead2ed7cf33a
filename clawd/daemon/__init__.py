"""The composition root: opens the home, starts the loops, ends them in order."""

from __future__ import annotations

from clawd.daemon.control import is_running, main, start_in_background, stop
from clawd.daemon.opening import bring_in, bring_in_project, database, host_name, open_desk
from clawd.daemon.threads import Daemon, Loop, last_words

__all__ = [
    "Daemon",
    "Loop",
    "bring_in",
    "bring_in_project",
    "database",
    "host_name",
    "is_running",
    "last_words",
    "main",
    "open_desk",
    "start_in_background",
    "stop",
]
