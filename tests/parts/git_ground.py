"""Repositories, hubs and workspaces for the git tests; git is called plainly here."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from clawd.adapters.git.hub import Hub
from clawd.adapters.git.intake import Candidate
from clawd.adapters.git.message import Identity

ADA = Identity("Ada (agent)", "ada@agents.example")
TRAILERS = {"Clawd-Task": "12", "Clawd-Run": "7", "Clawd-Agent": "ada"}
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PLAIN = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "Somebody",
    "GIT_AUTHOR_EMAIL": "somebody@example.org",
    "GIT_COMMITTER_NAME": "Somebody",
    "GIT_COMMITTER_EMAIL": "somebody@example.org",
}


def git(at: Path, *argv: str, stdin: str | None = None) -> str:
    """Plain git, as an operator or an agent would call it."""
    done = subprocess.run(
        ["git", "-C", str(at), *argv],
        env=PLAIN,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"git {argv}: {done.stderr}"
    return done.stdout.strip()


def write(at: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        (at / name).write_text(text)


def commit(at: Path, files: dict[str, str], message: str = "work") -> str:
    write(at, files)
    git(at, "add", "-A")
    git(at, "commit", "-q", "-m", message)
    return git(at, "rev-parse", "HEAD")


@dataclass
class Ground:
    """An operator's repository, its hub, and the first commit in both."""

    folder: Path
    operator: Path
    hub: Hub
    base: str
    runs: int = 0

    def workspace(self, commit: str | None = None) -> Path:
        self.runs += 1
        path = self.folder / f"workspace {self.runs}"
        return self.hub.clone_to(path, commit or self.base, identity=ADA)

    def take(self, workspace: Path, base: str | None = None, start: str | None = None) -> Candidate:
        return self.hub.import_candidate(
            workspace, self.runs, base or self.base, ADA, TRAILERS, start=start, when=WHEN
        )

    def fsck(self) -> str:
        return git(self.hub.path, "fsck", "--full", "--strict", "--no-dangling")


def make_ground(folder: Path, files: dict[str, str] | None = None) -> Ground:
    operator = folder / "operator's repo"
    operator.mkdir(parents=True)
    git(operator, "init", "-q", "-b", "main")
    start = {"a.py": "one = 1\ntwo = 2\nthree = 3\n", "docs/b.md": "# B\n", ".gitignore": "*.log\n"}
    base = commit(operator, files or start, "first")
    hub = Hub.create(folder / "hubs" / "sample.git")
    assert hub.sync_from(operator, "main") == base
    hub.point("refs/heads/main", base)
    return Ground(folder, operator, hub, base)
