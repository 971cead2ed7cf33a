"""Turns what lies uncommitted in a workspace into a tree of the hub, running nothing."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from clawd.adapters.git.bare import Bare
from clawd.adapters.git.command import GitError
from clawd.adapters.git.refusal import CandidateRefused, Caps, Refusal


def snapshot(
    hub: Bare, workspace: Path, start: str | None, caps: Caps, *, lenient: bool = False
) -> str:
    """The tree of the workspace's files as they lie there, seen from commit or tree `start`.

    The index is temporary and the git dir is the hub, so no filter, hook or setting of the
    workspace has a say. Ignored files stay out. `lenient` leaves out what it cannot take
    instead of refusing (for salvage).
    """
    if not stat.S_ISDIR(_mode(workspace)):
        raise CandidateRefused(Refusal.NOT_A_CLONE, "the workspace is not a folder.")
    with hub.scratch() as folder:
        index = folder / "index"
        hub.git(["read-tree", start] if start else ["read-tree", "--empty"], index=index)
        try:
            gone, present = _uncommitted(hub, workspace, index)
            present = _acceptable(workspace, present, caps, lenient)
            _update(hub, workspace, index, ["--force-remove"], gone)
            _update(hub, workspace, index, ["--add", "--replace"], present)
        except GitError as error:
            if "Invalid path" in error.message or "invalid path" in error.message:
                raise CandidateRefused(Refusal.GIT_PATH, error.message) from error
            if "ermission denied" in error.message or "unable to process" in error.message.lower():
                raise CandidateRefused(Refusal.UNREADABLE, error.message) from error
            raise
        return hub.git(["write-tree"], index=index).line


def _uncommitted(hub: Bare, workspace: Path, index: Path) -> tuple[list[str], list[str]]:
    """Paths that are gone, and paths that are new or differ; nested repositories end in `/`."""
    at = {"index": index, "work_tree": workspace}
    hub.git(["update-index", "-q", "--refresh", "--ignore-submodules"], ok=(0, 1), **at)
    listing = hub.git(["diff-files", "-z", "--name-status", "--ignore-submodules=all"], **at).text
    fields = listing.split("\0")
    gone: list[str] = []
    present: list[str] = []
    for status, path in zip(fields[::2], fields[1::2], strict=False):
        (gone if status == "D" else present).append(path)
    others = hub.git(["ls-files", "-z", "--others", "--exclude-standard"], **at).text
    return gone, present + [path for path in others.split("\0") if path]


def _acceptable(workspace: Path, paths: list[str], caps: Caps, lenient: bool) -> list[str]:
    """Only regular files and links of bearable size; refuse, or leave out when lenient."""
    total = 0
    taken: list[str] = []
    for path in paths:
        try:
            size = _take_size(workspace, path, caps)
        except CandidateRefused:
            if not lenient:
                raise
            continue
        total += size
        if total > caps.total_bytes or len(taken) >= caps.files:
            if lenient:
                break
            many = len(taken) >= caps.files
            detail = f"it leaves more than {caps.files if many else caps.total_bytes:,} "
            detail += "files uncommitted." if many else "bytes uncommitted."
            raise CandidateRefused(Refusal.TOO_MANY if many else Refusal.TOO_LARGE, detail)
        taken.append(path)
    return taken


def _take_size(workspace: Path, path: str, caps: Caps) -> int:
    if path.endswith("/"):
        raise CandidateRefused(Refusal.GITLINK, f"{path!r} is a nested repository.", path)
    if path.casefold().rsplit("/", 1)[-1] == ".gitmodules":  # before it becomes an object here
        raise CandidateRefused(Refusal.GITMODULES, f"{path!r} was changed.", path)
    full = os.path.join(os.fsencode(workspace), path.encode("utf-8", "surrogateescape"))
    try:
        info = os.lstat(full)
    except OSError as error:
        detail = f"{path!r} cannot be read: {error.strerror}."
        raise CandidateRefused(Refusal.UNREADABLE, detail, path) from error
    if stat.S_ISLNK(info.st_mode):
        return info.st_size
    if not stat.S_ISREG(info.st_mode):
        raise CandidateRefused(Refusal.SPECIAL_FILE, f"{path!r} is not a file.", path)
    if not os.access(full, os.R_OK):
        raise CandidateRefused(Refusal.UNREADABLE, f"{path!r} cannot be read.", path)
    if info.st_size > caps.file_bytes:
        detail = f"{path!r} has {info.st_size:,} bytes (at most {caps.file_bytes:,})."
        raise CandidateRefused(Refusal.FILE_TOO_LARGE, detail, path)
    return info.st_size


def _update(hub: Bare, workspace: Path, index: Path, how: list[str], paths: list[str]) -> None:
    if paths:
        stdin = "".join(f"{path}\0" for path in paths).encode("utf-8", "surrogateescape")
        argv = ["update-index", *how, "-z", "--stdin"]
        hub.git(argv, index=index, work_tree=workspace, stdin=stdin)


def _mode(path: Path) -> int:
    try:
        return path.lstat().st_mode
    except OSError:
        return 0
