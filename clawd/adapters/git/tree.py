"""Lays trees of the hub out as files: clean ones for tests, conflicted ones for a second try."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clawd.adapters.git.bare import Bare
from clawd.adapters.git.clone import make_clone
from clawd.adapters.git.command import DISPOSABLE, GitError, oid, run
from clawd.adapters.git.message import Identity

ROOM_FOR_ALL = 0o700


def export(hub: Bare, commit: str, dest: Path) -> Path:
    """The files of a commit or tree in an empty folder, without `.git`; no filter runs."""
    dest = Path(dest).absolute()
    dest.mkdir(parents=True, exist_ok=True)
    if any(dest.iterdir()):
        raise GitError(f"{dest} is not empty.", "Remove it, or choose another folder.")
    with hub.scratch() as folder:
        argv = ["read-tree", "--reset", "-u", oid(commit)]
        index = folder / "index"
        hub.git(argv, index=index, work_tree=dest, config=DISPOSABLE, timeout_s=100)
    return dest


def merge_markers(
    hub: Bare,
    ours: str,
    theirs: str,
    workspace: Path,
    branch: str = "task",
    identity: Identity | None = None,
) -> list[str]:
    """A fresh clone at `ours` with `theirs` merged as far as git can; the files in conflict.

    The merge is left open (MERGE_HEAD, unmerged index, markers in the files), as anybody who
    has ever resolved a conflict knows it. Safe because no agent has touched this clone yet.
    """
    make_clone(hub, workspace, ours, branch, identity)
    at: dict[str, Any] = {"git_dir": Path(workspace) / ".git", "work_tree": workspace}
    who = (identity or Identity("clawd", "clawd@localhost")).name
    argv = ["merge", "--quiet", "--no-commit", "--no-ff", "--no-edit", oid(theirs)]
    settings = [*DISPOSABLE, f"user.name={who}", "user.email=clawd@localhost"]
    run(argv, ok=(0, 1), config=settings, cwd=Path(workspace), **at)
    listing = run(["diff-files", "-z", "--name-only", "--diff-filter=U"], **at).text
    return sorted({path for path in listing.split("\0") if path})


def remove(path: Path) -> None:
    """Remove a workspace an agent may have made unreadable; nothing happens when it is gone."""

    def make_room(function: Callable[..., Any], name: str, _: object) -> None:
        with contextlib.suppress(FileNotFoundError):
            for folder in (os.path.dirname(name), name):
                if stat.S_ISDIR(os.lstat(folder).st_mode):
                    os.chmod(folder, ROOM_FOR_ALL)
            if function in (os.open, os.scandir, os.listdir):
                shutil.rmtree(name, onerror=make_room)
            else:
                function(name)

    if Path(path).exists():
        shutil.rmtree(path, onerror=make_room)


def with_file(hub: Bare, commit: str, path: str, data: bytes) -> str:
    """The tree of `commit` with one file's content replaced; its mode stays."""
    blob = hub.git(["hash-object", "-w", "-t", "blob", "--no-filters", "--stdin"], stdin=data).line
    with hub.scratch() as folder:
        index = folder / "index"
        hub.git(["read-tree", oid(commit)], index=index)
        listing = hub.git(["ls-files", "--stage", "-z", "--", path], index=index).text
        mode = listing.split(" ", 1)[0] if listing else "100644"
        hub.git(["update-index", "--add", "--cacheinfo", f"{mode},{blob},{path}"], index=index)
        return hub.git(["write-tree"], index=index).line
