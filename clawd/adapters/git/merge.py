"""Merges, reverts and patches computed in the hub's object store, without any checkout."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from clawd.adapters.git import locks
from clawd.adapters.git.bare import PLAIN_DIFF, Bare, Entry
from clawd.adapters.git.command import MEGABYTE, GitError, oid, ref
from clawd.adapters.git.message import Identity

PATCH = ("diff-tree", "-r", "-p", "-U3", "--full-index", "--src-prefix=a/", "--dst-prefix=b/")
PATCH_LIMIT_BYTES = 256 * MEGABYTE
ABSENT = "0" * 40
_EPOCH = datetime.fromtimestamp(0, UTC)
_SCAFFOLD = Identity("clawd", "clawd@localhost")


@dataclass(frozen=True, slots=True)
class Merge:
    """A merge in memory: `tree` is None on conflict; `marked` then holds the markers."""

    tree: str | None
    conflicts: list[str]
    messages: str
    marked: str


@dataclass(frozen=True, slots=True)
class Change:
    """One path a patch touches; `status` is A, M, D or T, `mode` the new one."""

    path: str
    status: str
    added: int
    deleted: int
    binary: bool
    mode: str


def merge(hub: Bare, ours: str, theirs: str, *, rewritten: bool = False) -> Merge:
    """What `theirs` merged into `ours` would be; `rewritten` also where no history is shared."""
    argv = ["merge-tree", "--write-tree", "-z", "--name-only", "--messages"]
    argv += ["--allow-unrelated-histories"] if rewritten else []
    output = hub.git([*argv, oid(ours), oid(theirs)], ok=(0, 1))
    tree, _, rest = output.text.partition("\0")
    if output.rc == 0:
        return Merge(tree, [], "", tree)
    if not tree:
        raise GitError(f"git merge-tree said nothing: {output.last_complaint}")
    names, _, notes = rest.partition("\0\0")
    return Merge(None, [name for name in names.split("\0") if name], "".join(_notes(notes)), tree)


def _notes(text: str) -> Iterator[str]:
    """The sentences of `-z --messages`: count, that many paths, a kind, a sentence."""
    fields = iter(text.split("\0"))
    for count in fields:
        if not count.isdigit():
            return
        for _ in range(int(count) + 1):
            next(fields, None)
        yield next(fields, "")


def revert_tree(hub: Bare, commit: str, onto: str) -> Merge:
    """`onto` without what `commit` brought over its first parent.

    A merge whose base is `commit` and whose other side is its parent undoes it; two scaffold
    commits on `commit` force exactly that base.
    """
    parents = hub.parents(commit)
    if not parents:
        raise GitError(f"{commit} is a first commit; there is nothing to go back to.")
    sides = [
        hub.commit(hub.tree_of(side), [commit], "scaffold", _SCAFFOLD, _EPOCH)
        for side in (onto, parents[0])
    ]
    return merge(hub, sides[0], sides[1])


def commit_merge(
    hub: Bare,
    tree: str,
    parents: Sequence[str],
    message: str,
    identity: Identity,
    when: datetime,
    trailers: Mapping[str, str] | None = None,
) -> str:
    """A commit over a tree that was tested; the caller checks the tree again after the swap."""
    return hub.commit(tree, parents, message, identity, when, trailers)


def swap(hub: Bare, name: str, new: str, old: str | None) -> bool:
    """Move a ref from `old` (None: absent) to `new`, or answer False when it stood elsewhere."""
    argv = ["update-ref", "--no-deref", ref(name), oid(new), oid(old) if old else ABSENT]
    return _compare_and_set(hub, name, argv, old)


def delete_ref(hub: Bare, name: str, old: str | None = None) -> bool:
    """Remove a ref (only while it stands at `old`, when given); False when it stood elsewhere."""
    if hub.head(name) is None:
        return old is None
    argv = ["update-ref", "--no-deref", "-d", ref(name), *([oid(old)] if old else [])]
    return _compare_and_set(hub, name, argv, old)


def _compare_and_set(hub: Bare, name: str, argv: list[str], old: str | None) -> bool:
    for last in (False, True):
        output = hub.git(argv, ok=(0, 1, 128))
        if output.rc == 0:
            return True
        if "-d" not in argv and hub.head(name) != old:
            return False
        if "-d" in argv and old is not None and hub.head(name) != old:
            return False
        if last or not locks.clear_stale(hub.path, [name]):
            break
    raise GitError(f"{name} could not be moved: {output.last_complaint}")


def changed(hub: Bare, a: str, b: str) -> list[Change]:
    """Every path that differs between two commits or trees, with its line counts."""
    entries = {entry.path: entry for entry in hub.differences(a, b)}
    argv = ["diff-tree", "-r", "-z", "--numstat", *PLAIN_DIFF, oid(a), oid(b)]
    changes = []
    for line in hub.git(argv).text.split("\0"):
        if line:
            added, deleted, path = line.split("\t", 2)
            changes.append(_change(entries[path], added, deleted))
    return changes


def _change(entry: Entry, added: str, deleted: str) -> Change:
    binary = added == "-"
    lines = (0, 0) if binary else (int(added), int(deleted))
    return Change(entry.path, entry.status, *lines, binary, entry.mode)


def patch_text(hub: Bare, a: str, b: str, limit_bytes: int = MEGABYTE) -> str:
    """The patch for people and models to read, cut with a line that says so."""
    argv = [*PATCH, *PLAIN_DIFF, oid(a), oid(b)]
    output = hub.git(argv, limit_bytes=limit_bytes, cut=True)
    text = output.out.decode("utf-8", "replace")
    return f"{text}\n[cut after {limit_bytes:,} bytes]\n" if output.cut else text


def patch_digest(hub: Bare, base: str, commit: str) -> str:
    """The same for the same effective patch, wherever the base has moved to meanwhile.

    Line numbers and the ids of text blobs are left out; every changed and context line, mode,
    path and (for binary files) content id counts. Unlike `git patch-id` white space counts too:
    in Python it is meaning.
    """
    argv = [*PATCH, *PLAIN_DIFF, oid(base), oid(commit)]
    patch = hub.git(argv, limit_bytes=PATCH_LIMIT_BYTES).out
    digest = hashlib.sha256()
    index = b""
    for line in patch.split(b"\n"):
        if line.startswith(b"index "):
            index = line
        elif line.startswith(b"@@"):
            digest.update(b"@@\n")
        elif line.startswith(b"Binary files "):
            digest.update(index + b"\n")
        else:
            digest.update(line + b"\n")
    return digest.hexdigest()
