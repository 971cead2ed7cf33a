"""Private clones: their own copy of every object, a config written by us, no remote."""

from __future__ import annotations

import shutil
from pathlib import Path

from clawd.adapters.git.bare import Bare
from clawd.adapters.git.command import DISPOSABLE, GitError, oid, ref, run
from clawd.adapters.git.message import Identity

COPY_TRIES = 3
# Left out of snapshots and of an agent's `git add -A` alike, also where no .gitignore says so.
EXCLUDE = """/.clawd/
__pycache__/
*.py[co]
.pytest_cache/
.mypy_cache/
.ruff_cache/
.hypothesis/
node_modules/
.venv/
.cargo-vendor/
.gomodcache/
.DS_Store
"""
_CONFIG = """[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = false
\tlogallrefupdates = true
[gc]
\tauto = 0
[commit]
\tgpgSign = false
[advice]
\tdetachedHead = false
[user]
\tname = {name}
\temail = {email}
"""
NOBODY = Identity("clawd", "clawd@localhost")


def make_clone(
    hub: Bare, path: Path, commit: str, branch: str = "task", identity: Identity | None = None
) -> Path:
    """Clone the hub to `path` without sharing one inode, with `branch` at `commit` checked out."""
    copy_objects(hub, path)
    bring(hub, path, commit)
    settle_git_dir(path, commit, branch, identity)
    check_out(path, commit)
    return path


def copy_objects(hub: Bare, path: Path) -> None:
    """An empty checkout with the hub's objects. Hard links would let an agent rewrite the hub's.

    A copy can race with git renaming a finished object in the hub, so it is tried again; the
    slower transport that asks git for a pack does not race.
    """
    path = Path(path).absolute()
    if path.exists() and any(path.iterdir()):
        raise GitError(f"{path} is not empty.", "Remove it, or choose another folder.")
    argv = ["clone", "--quiet", "--no-checkout", "--no-tags", "--template="]
    for left in range(COPY_TRIES, 0, -1):
        how = "--no-hardlinks" if left > 1 else "--no-local"
        try:
            run([*argv, how, str(hub.path), str(path)], config=DISPOSABLE, timeout_s=100)
            return
        except GitError:
            shutil.rmtree(path, ignore_errors=True)
            if left == 1:
                raise


def bring(hub: Bare, path: Path, commit: str) -> None:
    """Fetch the commit when the copy does not hold it: an older clone, or a shallow hub."""
    git = Path(path) / ".git"
    if not Bare(git).has(commit):
        argv = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--update-shallow"]
        run([*argv, str(hub.path), commit], git_dir=git, config=DISPOSABLE, timeout_s=100)


def settle_git_dir(path: Path, commit: str, branch: str, identity: Identity | None) -> None:
    """Write what git would read there: our config, our excludes, one branch, no remote."""
    git = Path(path) / ".git"
    who = identity or NOBODY
    name = ref(f"refs/heads/{branch}")
    (git / "config").write_text(_CONFIG.format(name=_quoted(who.name), email=_quoted(who.email)))
    (git / "info").mkdir(exist_ok=True)
    (git / "info" / "exclude").write_text(EXCLUDE)
    (git / "packed-refs").unlink(missing_ok=True)
    shutil.rmtree(git / "refs" / "remotes", ignore_errors=True)
    shutil.rmtree(git / "refs" / "heads", ignore_errors=True)
    target = git / name
    target.parent.mkdir(parents=True)
    target.write_text(f"{oid(commit)}\n")
    (git / "HEAD").write_text(f"ref: {name}\n")


def check_out(path: Path, commit: str) -> None:
    """Lay the commit's files. Only for a clone no agent has touched: git reads its git dir."""
    argv = ["read-tree", "--reset", "-u", oid(commit)]
    run(argv, git_dir=Path(path) / ".git", work_tree=path, config=DISPOSABLE, timeout_s=100)


def _quoted(text: str) -> str:
    visible = "".join(c if c.isprintable() else " " for c in text)
    escaped = visible.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
