"""Takes a run's work out of its workspace: commits under the agent's name, plus what lies loose."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from clawd.adapters.git.bare import PLAIN_DIFF, Bare, parse_raw
from clawd.adapters.git.command import MEGABYTE, oid
from clawd.adapters.git.message import Identity
from clawd.adapters.git.quarantine import fetch_head
from clawd.adapters.git.refusal import CandidateRefused, Caps, Refusal, objection
from clawd.adapters.git.snapshot import snapshot
from clawd.errors import ClawdError

COMMITS_LIMIT = 100
LISTING_LIMIT_BYTES = 100 * MEGABYTE  # a few tree objects can name billions of paths
LATEST_DATE = 4_102_444_800  # agents invent dates; past this one git tools disagree
UNCOMMITTED = "Work the run left uncommitted"


@dataclass(frozen=True, slots=True)
class Candidate:
    """The commit a run produced, in the hub; `oid` equals `start` when nothing is new."""

    oid: str
    tree: str
    base: str
    commits: int
    no_change: bool


@dataclass(frozen=True, slots=True)
class _Commit:
    oid: str
    tree: str
    parents: list[str]
    date: datetime
    message: str


def run_ref(run_id: int) -> str:
    return f"refs/clawd/run/{int(run_id)}"


def raw_ref(run_id: int) -> str:
    return f"refs/clawd/raw/{int(run_id)}"


def salvage_ref(run_id: int) -> str:
    return f"refs/clawd/salvage/{int(run_id)}"


def import_candidate(
    hub: Bare,
    workspace: Path,
    run_id: int,
    base: str,
    identity: Identity,
    trailers: Mapping[str, str],
    *,
    start: str | None,
    when: datetime,
    caps: Caps,
) -> Candidate:
    """Fetch, snapshot, judge the tree, rewrite the commits, and point the run's ref at them."""
    start = oid(start or base)
    head = fetch_head(hub, workspace, raw_ref(run_id), [oid(base), start], caps)
    if not _listable(hub, head):
        raise CandidateRefused(Refusal.TOO_MANY, "its tree names too many files.")
    tree = snapshot(hub, workspace, head, caps)
    refused = objection(hub, hub.differences(base, tree))
    if refused is not None:
        raise refused
    tip = _rewrite(hub, head, tree, start, identity, trailers, when)
    hub.point(run_ref(run_id), tip)
    return describe(hub, tip, base)


def describe(hub: Bare, tip: str, base: str) -> Candidate:
    """The candidate a commit is, seen from its base."""
    tree = hub.tree_of(tip)
    commits = int(hub.git(["rev-list", "--count", oid(tip), "--not", oid(base), "--"]).line)
    return Candidate(tip, tree, base, commits, no_change=tree == hub.tree_of(base))


def salvage(
    hub: Bare, workspace: Path, run_id: int, base: str | None, when: datetime
) -> str | None:
    """Keep whatever can be read of a failed run's work; None when nothing can. Never raises."""
    parent = base
    caps = Caps()
    try:
        known = [base] if base else []
        head = fetch_head(hub, workspace, salvage_ref(run_id), known, caps)
        parent = head if _listable(hub, head) else base
    except (ClawdError, OSError):
        pass
    try:
        tree = snapshot(hub, workspace, parent, caps, lenient=True)
        kept = parent
        if parent is None or tree != hub.tree_of(parent):
            identity = Identity("clawd", "clawd@localhost")
            parents = [parent] if parent else []
            kept = hub.commit(tree, parents, UNCOMMITTED, identity, when)
        if kept is None or kept == base:
            return None
        hub.point(salvage_ref(run_id), kept)
        return kept
    except (ClawdError, OSError):
        return parent if parent != base else None


def _rewrite(
    hub: Bare,
    head: str,
    tree: str,
    start: str,
    identity: Identity,
    trailers: Mapping[str, str],
    when: datetime,
) -> str:
    """The agent's commits on top of `start`: one by one when simple, else as one commit."""
    if tree == hub.tree_of(start):
        return start
    commits = _commits(hub, head, start)
    if commits is None or _blemished(hub, commits):
        message = _squashed(hub, head, start)
        return hub.commit(tree, [start], message, identity, when, trailers)
    tip, tip_tree = start, hub.tree_of(start)
    for commit in commits:
        tip = hub.commit(commit.tree, [tip], commit.message, identity, commit.date, trailers)
        tip_tree = commit.tree
    if tip_tree != tree:
        tip = hub.commit(tree, [tip], UNCOMMITTED, identity, when, trailers)
    return tip


def _commits(hub: Bare, head: str, start: str) -> list[_Commit] | None:
    """The straight line of commits from `start` to `head`, oldest first; None if it is not one."""
    listing = ["rev-list", "--topo-order", "--reverse", f"--max-count={COMMITS_LIMIT + 1}"]
    fields = "--format=%H%n%T%n%P%n%ct%n%B%x00"
    out = hub.git([*listing, "--no-commit-header", fields, head, "--not", start, "--"])
    commits = [_parse(part.lstrip("\n")) for part in out.text.split("\0")[:-1]]
    if len(commits) > COMMITS_LIMIT or (head != start and not commits):
        return None
    line = [start, *(commit.oid for commit in commits)]
    straight = all(commit.parents == [below] for commit, below in zip(commits, line, strict=False))
    return commits if straight else None


def _parse(text: str) -> _Commit:
    name, tree, parents, date, message = text.split("\n", 4)
    seconds = min(int(date), LATEST_DATE) if date.isdigit() else 0
    return _Commit(name, tree, parents.split(), datetime.fromtimestamp(seconds, UTC), message)


def _blemished(hub: Bare, commits: list[_Commit]) -> bool:
    """Whether a commit on the way holds what the final tree no longer does."""
    if not commits:
        return False
    if not all(_listable(hub, tree) for tree in {commit.tree for commit in commits}):
        return True
    stdin = "".join(f"{commit.oid}\n" for commit in commits).encode()
    argv = ["diff-tree", "--stdin", "-r", "-z", "--raw", "--no-abbrev", "--no-commit-id"]
    text = hub.git([*argv, *PLAIN_DIFF], stdin=stdin).text
    return objection(hub, parse_raw(text)) is not None


def _listable(hub: Bare, name: str) -> bool:
    """Whether the tree can be walked at all; git writes this listing without holding it."""
    argv = ["ls-tree", "-r", "-z", "--name-only", "--full-tree", name]
    return not hub.git(argv, limit_bytes=LISTING_LIMIT_BYTES, cut=True).cut


def _squashed(hub: Bare, head: str, start: str) -> str:
    """One message for many commits: the newest subject, then the others as a list."""
    argv = ["rev-list", "--max-count=50", "--no-commit-header", "--no-merges", "--format=%s%x00"]
    out = hub.git([*argv, head, "--not", start, "--"], limit_bytes=200_000, cut=True).text
    subjects = [subject.strip() for subject in out.split("\0") if subject.strip()]
    if not subjects:
        return UNCOMMITTED
    rest = [f"- {subject}" for subject in itertools.islice(subjects, 1, None)]
    return "\n".join([subjects[0], "", *rest]).strip()


__all__ = [
    "Candidate",
    "CandidateRefused",
    "describe",
    "import_candidate",
    "raw_ref",
    "run_ref",
    "salvage",
    "salvage_ref",
]
