"""A daemon of its own on the bundled sample project, with scripted agents that lose no time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from clawd import daemon, share
from clawd.adapters import postgres, server
from clawd.store.rows import Db

# Says when it was started, in the agent's own HOME, then becomes the scripted agent.
WRAPPER = """#!/bin/sh
[ "$1" = --version ] || date +%s%N >> "$HOME/started"
exec "${0%/*}/scripted" "$@"
"""
CONFIG = """\
login: none
claude: {{path: {agent}, minimum: 0.0.0}}
landing: branch
projects:
  sample: {{path: {path}, test: "python3 -m unittest -q", max_agents: 4}}
"""
ME = {
    "GIT_AUTHOR_NAME": "operator", "GIT_AUTHOR_EMAIL": "operator@localhost",
    "GIT_COMMITTER_NAME": "operator", "GIT_COMMITTER_EMAIL": "operator@localhost",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sample:
    """A running daemon: its home, its process and a connection to its database."""

    home: Path
    pid: int
    db: Db

    def wait(self, done: Callable[[], Any], what: str, timeout_s: float = 60.0) -> Any:
        """What `done` gives as soon as it gives something."""
        patience, deadline = threading.Event(), monotonic() + timeout_s
        while monotonic() < deadline:
            found = done()
            if found:
                return found
            patience.wait(0.01)
        log = (self.home / "logs" / "clawd.log").read_text("utf-8", "replace")[-3000:]
        raise SystemExit(f"waited {timeout_s:.0f} s for {what}; the log ends:\n{log}")

    def row(self, query: str, *params: object) -> dict[str, Any] | None:
        """The first row of a query."""
        return self.db.execute(query, params, prepare=True).fetchone()


@contextmanager
def running(home: Path) -> Iterator[Sample]:
    """`clawd up` in a process of its own, main judged green; down again at the end."""
    repository = _repository(home / "repository")
    tools = home / "tools"
    tools.mkdir()
    pack = [sys.executable, str(share.path("scripts/demo") / "agent"), "--pack"]
    subprocess.run([*pack, str(tools / "scripted"), "0"], check=True, stdout=subprocess.DEVNULL)
    (tools / "agent").write_text(WRAPPER)
    (tools / "agent").chmod(0o755)
    own = home / "home"
    own.mkdir(mode=0o700)
    (own / "clawd.yaml").write_text(CONFIG.format(agent=tools / "agent", path=repository))
    try:
        daemon.start_in_background(own)
        pid = daemon.is_running(own)
        assert pid is not None
        with postgres.connect(daemon.database(own), application_name="bench") as db:
            sample = Sample(own, pid, db)
            sample.wait(
                lambda: sample.row("select 1 from project where baseline_verdict = 'green'"),
                "a green main",
            )
            yield sample
    finally:
        daemon.stop(own)
        server.discard(own)


def _repository(path: Path) -> Path:
    """The sample with an empty roadmap: no model is called but for the tasks of the bench."""
    shutil.copytree(share.path("scripts/demo") / "project", path)
    (path / "ROADMAP.md").write_text("# Roadmap\n\nNothing yet.\n")
    for step in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(path), *step], check=True, env={**os.environ, **ME})
    return path
