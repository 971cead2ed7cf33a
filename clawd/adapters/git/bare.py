"""A bare repository the daemon owns: reading objects and refs, never with a checkout."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from clawd.adapters.git.command import MEGABYTE, GitError, Output, is_oid, oid, ref, run
from clawd.adapters.git.message import Identity, compose

PLAIN_DIFF = ("--no-ext-diff", "--no-textconv", "--no-renames", "--no-color")


@dataclass(frozen=True, slots=True)
class Entry:
    """One path that differs between two trees, as git's raw diff says it."""

    old_mode: str
    mode: str
    old_oid: str
    oid: str
    status: str
    path: str


class Bare:
    """Reads and refs of one bare repository under the daemon's home."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path).absolute()

    def git(self, argv: Sequence[str], **options: Any) -> Output:
        return run(argv, git_dir=self.path, **options)

    def head(self, name: str) -> str | None:
        """The commit `name` (a full ref) points to, or None when there is no such ref."""
        return self._parse(f"{ref(name)}^{{commit}}")

    def resolve(self, name: str) -> str:
        """The commit of a full ref or a full object id; an error when it is not here."""
        found = self._parse(f"{name if is_oid(name) else ref(name)}^{{commit}}")
        if found is None:
            raise GitError(f"{name} is not a commit in {self.path.name}.")
        return found

    def has(self, name: str) -> bool:
        """Whether a commit and its tree are here; a hub restored from before lacks the newest."""
        argv = ["cat-file", "-e", f"{oid(name)}^{{tree}}"]
        return self.git(argv, ok=(0, 1, 128)).rc == 0

    def tree_of(self, name: str) -> str:
        found = self._parse(f"{oid(name)}^{{tree}}")
        if found is None:
            raise GitError(f"{name} has no tree in {self.path.name}.")
        return found

    def parents(self, name: str) -> list[str]:
        return self.git(["rev-list", "--parents", "-n1", oid(name), "--"]).line.split()[1:]

    def is_ancestor(self, a: str, b: str) -> bool:
        argv = ["merge-base", "--is-ancestor", oid(a), oid(b)]
        return self.git(argv, ok=(0, 1)).rc == 0

    def merge_base(self, a: str, b: str) -> str | None:
        return self.git(["merge-base", oid(a), oid(b)], ok=(0, 1)).line or None

    def refs(self, prefix: str) -> dict[str, str]:
        """All refs under `prefix` (a full name or folder) with the object each points to."""
        listing = self.git(["for-each-ref", "--format=%(objectname) %(refname)", ref(prefix)]).text
        pairs = (line.split(" ", 1) for line in listing.splitlines())
        return {name: target for target, name in pairs}

    def files(self, name: str) -> list[str]:
        """Every path of a commit or tree."""
        out = self.git(["ls-tree", "-r", "-z", "--name-only", "--full-tree", oid(name)]).text
        return [path for path in out.split("\0") if path]

    def read(self, name: str, path: str, limit_bytes: int = MEGABYTE) -> bytes | None:
        """The first `limit_bytes` of a file at a commit; None when it is not a file there."""
        listing = self.git(["ls-tree", "-z", "--full-tree", oid(name), "--", _literal(path)]).text
        for entry in listing.split("\0"):
            meta, _, found = entry.partition("\t")
            if found == path and meta.startswith("100"):
                blob = meta.split()[2]
                return self.git(["cat-file", "blob", blob], limit_bytes=limit_bytes, cut=True).out
        return None

    def blobs(self, oids: Iterable[str], limit_bytes: int = MEGABYTE) -> dict[str, bytes]:
        """The contents of small objects, in one call; those past the limit are left out."""
        wanted = list(dict.fromkeys(oid(one) for one in oids))
        if not wanted:
            return {}
        stdin = "".join(f"{one}\n" for one in wanted).encode()
        out = self.git(["cat-file", "--batch"], stdin=stdin, limit_bytes=limit_bytes, cut=True).out
        found: dict[str, bytes] = {}
        at = 0
        while at < len(out):
            header, _, _ = out[at : at + 200].partition(b"\n")
            words = header.split()
            at += len(header) + 1
            if len(words) == 3:
                size = int(words[2])
                if at + size <= len(out):
                    found[words[0].decode()] = out[at : at + size]
                at += size + 1
        return found

    def differences(self, a: str, b: str) -> list[Entry]:
        """What differs between two commits or trees, path by path, renames not guessed."""
        argv = ["diff-tree", "-r", "-z", "--raw", "--no-abbrev", *PLAIN_DIFF, oid(a), oid(b)]
        return list(parse_raw(self.git(argv).text))

    def commit(
        self,
        tree: str,
        parents: Sequence[str],
        message: str,
        identity: Identity,
        when: datetime,
        trailers: Mapping[str, str] | None = None,
    ) -> str:
        """Write one commit object; the same arguments always make the same object id."""
        argv = ["commit-tree", oid(tree)]
        for parent in parents:
            argv += ["-p", oid(parent)]
        text = compose(message, trailers or {}).encode()
        return self.git(argv, stdin=text, env_extra=identity.variables(when)).line

    def point(self, name: str, target: str) -> None:
        """Set a ref of the daemon's own bookkeeping; main moves only by `merge.swap`."""
        self.git(["update-ref", "--no-deref", ref(name), oid(target)])

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A short-lived folder inside the hub, swept by `tidy` when a crash leaves it."""
        folder = self.path / "scratch"
        folder.mkdir(mode=0o700, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=folder))
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def _parse(self, expression: str) -> str | None:
        argv = ["rev-parse", "--verify", "--quiet", "--end-of-options", expression]
        return self.git(argv, ok=(0, 1)).line or None


def parse_raw(text: str) -> Iterator[Entry]:
    """Entries of a `--raw -z` listing; stops at the first token that is not one."""
    tokens = iter(text.split("\0"))
    for meta in tokens:
        if not meta.startswith(":"):
            return
        old_mode, mode, old, new, status = meta[1:].split(" ")
        yield Entry(old_mode, mode, old, new, status[0], next(tokens))


def _literal(path: str) -> str:
    return f":(literal,top){path}"
