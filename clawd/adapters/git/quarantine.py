"""Borrows only the object files of a workspace: its config, hooks, refs and alternates stay out.

An agent can write anything below `.git`. Git never runs there: new object files are linked into
a bare repository of our own next to the hub, and the hub fetches from that one, hashing it all.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clawd.adapters.git.bare import Bare
from clawd.adapters.git.command import GitError, is_oid
from clawd.adapters.git.refusal import CandidateRefused, Caps, Refusal

OBJECT_FILES_LIMIT = 200_000
BORROWED = "refs/heads/borrowed"
_CONFIG = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n"
_LOOSE_FOLDER, _LOOSE = re.compile(r"[0-9a-f]{2}\Z"), re.compile(r"[0-9a-f]{38}(?:[0-9a-f]{24})?\Z")
_PACK = re.compile(r"pack-[0-9a-f]{40,64}\.(?:pack|idx)\Z")
_HEAD_REF = re.compile(r"ref: (refs/heads/[^\s\x00]{1,200})\Z")


def fetch_head(hub: Bare, workspace: Path, name: str, known: list[str], caps: Caps | None) -> str:
    """Bring the workspace's HEAD into the hub as ref `name`; `known` commits count as ours.

    `caps` bounds what the new objects may weigh unpacked.
    """
    head = read_head(workspace / ".git")
    if head is None:
        raise CandidateRefused(Refusal.NOT_A_CLONE, "the workspace has no readable HEAD.", ".git")
    if head in known:
        hub.point(name, head)
        return head
    try:
        with _borrowed(hub, workspace, head) as lender:
            if caps is not None:
                _weigh(lender, head, known, caps)
            hub.git(
                [
                    "fetch",
                    "--quiet",
                    "--no-tags",
                    "--no-recurse-submodules",
                    "--no-write-fetch-head",
                    str(lender.path),
                    f"+{BORROWED}:{name}",
                ],
                config=["transfer.fsckObjects=true"],
            )
    except GitError as error:
        raise _unreadable(error) from error
    return head


def _unreadable(error: GitError) -> CandidateRefused:
    lines = [line for line in error.stderr.splitlines() if line.startswith("error:")]
    said = lines[0][:500] if lines else error.message
    reason = Refusal.GITMODULES if "gitmodules" in error.stderr else Refusal.BROKEN_OBJECTS
    return CandidateRefused(reason, f"its commits cannot be read: {said}")


def read_head(git: Path) -> str | None:
    """The commit HEAD names, read as plain files, following no link and no redirection."""
    if not _is_folder(git):
        return None
    text = _plain(git / "HEAD", 300)
    if text is None or is_oid(text):
        return text
    match = _HEAD_REF.match(text)
    if match is None or ".." in match[1].split("/"):
        return None
    target = git
    for part in match[1].split("/")[:-1]:
        target = target / part
        if not _is_folder(target):
            return _packed(git, match[1])
    loose = _plain(git / match[1], 100)
    if loose is None:
        return _packed(git, match[1])
    return loose if is_oid(loose) else None


def _packed(git: Path, name: str) -> str | None:
    for line in (_plain(git / "packed-refs", 20_000_000) or "").splitlines():
        value, _, found = line.partition(" ")
        if found == name and is_oid(value):
            return value
    return None


@contextmanager
def _borrowed(hub: Bare, workspace: Path, head: str) -> Iterator[Bare]:
    with hub.scratch() as folder:
        for part in ("objects/info", "objects/pack", "refs/heads"):
            (folder / part).mkdir(parents=True)
        (folder / "HEAD").write_text(f"ref: {BORROWED}\n")
        (folder / "config").write_text(_CONFIG)
        (folder / BORROWED).write_text(f"{head}\n")
        (folder / "objects/info/alternates").write_text("../../../objects\n")
        if (hub.path / "shallow").exists():
            shutil.copy(hub.path / "shallow", folder / "shallow")
        try:
            _link_objects(workspace / ".git" / "objects", folder / "objects", hub.path / "objects")
        except OSError as error:
            where = f"{error.filename}: {error.strerror}"
            raise CandidateRefused(Refusal.UNREADABLE, f"{where}.") from error
        yield Bare(folder)


def _link_objects(source: Path, target: Path, ours: Path) -> None:
    """Link every object file the hub does not have under the same name."""
    if not _is_folder(source):
        raise CandidateRefused(Refusal.NOT_A_CLONE, "it has no object folder.", ".git/objects")
    count = 0
    for folder in os.scandir(source):
        pattern = _PACK if folder.name == "pack" else _LOOSE
        if not folder.is_dir(follow_symlinks=False):
            continue
        if folder.name != "pack" and not _LOOSE_FOLDER.match(folder.name):
            continue
        for file in os.scandir(folder):
            known = (ours / folder.name / file.name).exists()
            if known or not pattern.match(file.name) or not file.is_file(follow_symlinks=False):
                continue
            count += 1
            if count > OBJECT_FILES_LIMIT:
                raise CandidateRefused(Refusal.TOO_MANY, "it holds too many object files.")
            (target / folder.name).mkdir(exist_ok=True)
            _link(Path(file.path), target / folder.name / file.name)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
        shutil.copyfile(source, target, follow_symlinks=False)


def _weigh(lender: Bare, head: str, known: list[str], caps: Caps) -> None:
    """Refuse before anything is copied when the new objects are too many or too large."""
    argv = ["rev-list", "--objects", "--no-object-names", head, "--not", *known]
    listing = lender.git(argv, limit_bytes=41 * 20 * caps.files).out
    argv = ["cat-file", "--buffer", "--batch-check=%(objecttype) %(objectsize)"]
    total = 0
    for line in lender.git(argv, stdin=listing).text.splitlines():
        kind, _, size = line.partition(" ")
        if not size.isdigit():
            raise CandidateRefused(Refusal.BROKEN_OBJECTS, f"an object is missing ({line[:60]}).")
        total += int(size)
        if kind == "blob" and int(size) > caps.file_bytes:
            detail = f"a committed file has {int(size):,} bytes (at most {caps.file_bytes:,})."
            raise CandidateRefused(Refusal.FILE_TOO_LARGE, detail)
    if total > caps.total_bytes:
        detail = f"its commits bring {total:,} bytes (at most {caps.total_bytes:,})."
        raise CandidateRefused(Refusal.TOO_LARGE, detail)


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def _plain(path: Path, limit_bytes: int) -> str | None:
    """The stripped text of a regular file; None for anything else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        return file.read(limit_bytes).decode("utf-8", "replace").strip()
