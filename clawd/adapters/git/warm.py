"""Workspaces made ahead of need, so that a claim waits for no copying; each is used once."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

from clawd.adapters.git import tree
from clawd.adapters.git.bare import Bare
from clawd.adapters.git.clone import bring, check_out, make_clone, settle_git_dir
from clawd.adapters.git.command import GitError
from clawd.adapters.git.message import Identity

# Git reads a file again when it is as young as the index. A slot's files are older by the time it
# is taken, so saying so spares reading them all; what an agent edits later is younger still.
RACY_FOR_S = 2.0


class WarmPool:
    """`size` fresh clones in `folder`. One that left is an agent's and never comes back."""

    def __init__(self, hub: Bare, folder: Path, size: int) -> None:
        self.hub, self.folder, self.size = hub, Path(folder), size

    def ready(self) -> list[Path]:
        return sorted(self.folder.glob("slot-*"))

    def take(
        self,
        commit: str,
        dest: Path,
        branch: str = "task",
        identity: Identity | None = None,
    ) -> Path:
        """A workspace at `dest` with `commit` checked out: a warm one, else a fresh clone."""
        dest.parent.mkdir(parents=True, exist_ok=True)
        if dest.exists():
            raise GitError(f"{dest} exists already.", "Each run gets a folder of its own.")
        for slot in self.ready():
            try:
                slot.rename(dest)
            except OSError:  # somebody else took it, or it lies on another file system
                continue
            try:
                self._turn(dest, commit, branch, identity)
                return dest
            except (GitError, OSError):
                tree.remove(dest)
        return make_clone(self.hub, dest, commit, branch, identity)

    def refill(self, commit: str) -> int:
        """Make what is missing, at `commit`, and sweep what a crash left half made."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in self.folder.glob("making-*"):
            tree.remove(left)
        made = 0
        while len(self.ready()) < self.size:
            name = secrets.token_hex(6)
            making = self.folder / f"making-{name}"
            make_clone(self.hub, making, commit)
            making.rename(self.folder / f"slot-{name}")
            made += 1
        return made

    def _turn(self, dest: Path, commit: str, branch: str, identity: Identity | None) -> None:
        """Bring the objects that came since the slot was made and lay the commit's files."""
        index = dest / ".git" / "index"
        if time.time() - index.stat().st_mtime > RACY_FOR_S:
            os.utime(index)
        bring(self.hub, dest, commit)
        settle_git_dir(dest, commit, branch, identity)
        check_out(dest, commit)
