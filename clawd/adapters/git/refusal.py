"""Why a candidate is not taken, as a closed list, and the tree rules behind it."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from clawd.adapters.git.bare import Bare, Entry
from clawd.adapters.git.command import MEGABYTE
from clawd.errors import ClawdError

GITLINK, SYMLINK = "160000", "120000"
_DOT_GIT = {".git", "git~1"}


class Refusal(StrEnum):
    """The closed list of reasons."""

    NOT_A_CLONE = "not_a_clone"
    BROKEN_OBJECTS = "broken_objects"
    GITLINK = "gitlink"
    GITMODULES = "gitmodules"
    SYMLINK_OUTSIDE = "symlink_outside"
    GIT_PATH = "git_path"
    CLAWD_FOLDER = "clawd_folder"
    SPECIAL_FILE = "special_file"
    UNREADABLE = "unreadable"
    FILE_TOO_LARGE = "file_too_large"
    TOO_LARGE = "too_large"
    TOO_MANY = "too_many"


REMEDIES = {
    Refusal.NOT_A_CLONE: "Keep the workspace's .git folder as it was; commit on its branch.",
    Refusal.BROKEN_OBJECTS: "Commit again in a fresh workspace; git objects there are damaged.",
    Refusal.GITLINK: "Remove the nested repository or submodule from the change.",
    Refusal.GITMODULES: "Leave .gitmodules as it is on main.",
    Refusal.SYMLINK_OUTSIDE: "Point symbolic links at files inside the repository.",
    Refusal.GIT_PATH: "Rename the path: names that stand for .git cannot be committed.",
    Refusal.CLAWD_FOLDER: "Leave .clawd/ out of commits.",
    Refusal.SPECIAL_FILE: "Remove sockets, pipes and devices from the workspace.",
    Refusal.UNREADABLE: "Make every file in the workspace readable again.",
    Refusal.FILE_TOO_LARGE: "Leave large files out of the change, or ignore them.",
    Refusal.TOO_LARGE: "Leave generated files out of the change, or ignore them.",
    Refusal.TOO_MANY: "Leave generated files out of the change, or ignore them.",
}


class CandidateRefused(ClawdError):
    """The work cannot be taken as it is; `reason` is one of `Refusal`, `path` names the place."""

    def __init__(self, reason: Refusal, detail: str, path: str = "") -> None:
        super().__init__(f"The candidate was refused: {detail}", REMEDIES[reason])
        self.reason, self.path = reason, path


@dataclass(frozen=True, slots=True)
class Caps:
    """How much one candidate may bring."""

    file_bytes: int = 10 * MEGABYTE
    total_bytes: int = 100 * MEGABYTE
    files: int = 20_000


def objection(hub: Bare, entries: Iterable[Entry]) -> CandidateRefused | None:
    """The first thing in these differences that no candidate may carry."""
    entries = list(entries)
    links = []
    for entry in entries:
        refused = _path_objection(entry)
        if refused is not None:
            return refused
        if entry.mode == SYMLINK:
            links.append(entry)
    targets = hub.blobs(link.oid for link in links)
    for link in links:
        target = targets.get(link.oid, b"").decode("utf-8", "surrogateescape")
        if _leaves(link.path, target):
            detail = f"the link {link.path!r} points outside the repository ({target[:200]!r})."
            return CandidateRefused(Refusal.SYMLINK_OUTSIDE, detail, link.path)
    return None


def _path_objection(entry: Entry) -> CandidateRefused | None:
    parts = entry.path.casefold().split("/")
    if GITLINK in (entry.mode, entry.old_mode):
        detail = f"{entry.path!r} is a nested repository."
        return CandidateRefused(Refusal.GITLINK, detail, entry.path)
    if any(_stands_for_git(part) for part in parts):
        detail = f"{entry.path!r} names a git folder."
        return CandidateRefused(Refusal.GIT_PATH, detail, entry.path)
    if parts[0] == ".clawd":
        detail = f"{entry.path!r} belongs to clawd."
        return CandidateRefused(Refusal.CLAWD_FOLDER, detail, entry.path)
    if parts[-1] == ".gitmodules":
        detail = f"{entry.path!r} was changed."
        return CandidateRefused(Refusal.GITMODULES, detail, entry.path)
    return None


def _stands_for_git(part: str) -> bool:
    """Names that some file system folds into `.git`; git's own check runs as well."""
    visible = "".join(c for c in part if c.isprintable() and c.isascii())
    return part in _DOT_GIT or visible.rstrip(". ").split(":")[0] in _DOT_GIT


def _leaves(path: str, target: str) -> bool:
    """Whether a link's target can leave the tree: `..` is only allowed in front."""
    if not target or target.startswith("/") or "\0" in target:
        return True
    parts = [part for part in target.split("/") if part not in ("", ".")]
    ups = next((i for i, part in enumerate(parts) if part != ".."), len(parts))
    depth = len([part for part in posixpath.dirname(path).split("/") if part])
    inside = [part.casefold() for part in parts[ups:]]
    return ups > depth or ".." in inside or any(_stands_for_git(part) for part in inside)
