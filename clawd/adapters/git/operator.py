"""The operator's own repository: looked at, followed when they chose so, never rewritten."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import git

from clawd.adapters.git.bare import Bare
from clawd.adapters.git.command import MEGABYTE, GitError, oid, ref, run, run_as_operator
from clawd.adapters.regular import read_regular
from clawd.errors import ClawdError

ANSWER_WITHIN_S = 60.0
LOCATION_VARIABLES = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_NAMESPACE", "GIT_PREFIX", "GIT_CEILING_DIRECTORIES",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class OperatorRepo:
    """What clawd needs to know about the repository it was pointed at."""

    path: Path
    git_dir: Path
    branch: str | None
    head: str | None
    dirty: bool
    bare: bool
    has_commits: bool
    remotes: dict[str, str]

    def require_branch(self) -> tuple[str, str]:
        """The branch and commit to build on, or the one sentence that says why not."""
        if not self.has_commits or self.head is None:
            raise ClawdError(
                f"{self.path} has no commits yet.",
                "Make a first one: git add -A && git commit -m 'first commit'",
            )
        if self.branch is None:
            raise ClawdError(
                f"{self.path} is not on a branch (detached HEAD).",
                "Switch to the branch clawd shall land on: git switch main",
            )
        return self.branch, self.head


@dataclass(frozen=True, slots=True)
class FollowResult:
    """Whether the operator's branch moved; `why` says what is in the way when it did not."""

    moved: bool
    why: str


@dataclass(frozen=True, slots=True)
class FileText:
    """A file of the operator's, and where it was read: `working copy` or `branch`."""

    data: bytes
    source: str


@contextmanager
def _opened(path: Path) -> Iterator[git.Repo]:
    """GitPython on the operator's repository, closed again: kept objects leak processes."""
    for name in LOCATION_VARIABLES:  # inherited from a hook or alias that started clawd
        os.environ.pop(name, None)
    try:
        repo = git.Repo(path, search_parent_directories=True, expand_vars=False)
    except git.NoSuchPathError as error:
        raise ClawdError(f"{path} does not exist.", "Name the folder of a repository.") from error
    except git.InvalidGitRepositoryError as error:
        remedy = f"Make it one: git init {shlex.quote(str(path))}"
        raise ClawdError(f"{path} is not a git repository.", remedy) from error
    with repo:
        try:
            yield repo
        except git.GitCommandError as error:
            said = str(error.stderr or "").strip().splitlines()[-1:] or ["no message"]
            remedy = f"Try it there: git -C {shlex.quote(str(path))} status"
            raise GitError(f"Git cannot read {path}: {said[0]}", remedy) from error


def inspect(path: Path) -> OperatorRepo:
    """Look at the repository `path` lies in."""
    with _opened(path) as repo:
        kind = repo.config_reader("repository").get_value("extensions", "objectformat", "sha1")
        if str(kind).lower() != "sha1":
            raise ClawdError(f"{path} uses {kind} object ids.", "clawd works with sha1 only.")
        has_commits = repo.head.is_valid()
        return OperatorRepo(
            path=Path(repo.working_tree_dir or repo.git_dir),
            git_dir=Path(repo.git_dir),
            branch=None if repo.head.is_detached else repo.head.reference.name,
            head=repo.head.commit.hexsha if has_commits else None,
            dirty=not repo.bare and has_commits and _dirty(repo),
            bare=repo.bare,
            has_commits=has_commits,
            remotes={remote.name: next(iter(remote.urls), "") for remote in repo.remotes},
        )


def _dirty(repo: git.Repo) -> bool:
    """Whether tracked files differ from HEAD; untracked ones are the operator's own business."""
    status = repo.git.status(
        "--porcelain", "--untracked-files=no", kill_after_timeout=ANSWER_WITHIN_S
    )
    return bool(status.strip())


def tracked_files(path: Path) -> list[str]:
    """Every tracked path, for guessing at languages and test commands."""
    with _opened(path) as repo:
        listing = repo.git.ls_files("-z", kill_after_timeout=ANSWER_WITHIN_S)
    return [name for name in str(listing).split("\0") if name]


def read_file(
    path: Path, branch: str, name: str, limit_bytes: int = 4 * MEGABYTE
) -> FileText | None:
    """ROADMAP.md and the like: the working copy while HEAD is `branch`, else that branch's."""
    found = inspect(path)
    if found.branch == branch and not found.bare:
        try:
            return FileText(read_regular(found.path / name, limit_bytes), "working copy")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            remedy = f"Look at it: ls -ld {shlex.quote(str(found.path / name))}"
            raise ClawdError(f"{name} cannot be read: {error.strerror}.", remedy) from error
    theirs = Bare(found.git_dir)
    commit = theirs.head(f"refs/heads/{branch}")
    data = theirs.read(commit, name, limit_bytes) if commit else None
    return None if data is None else FileText(data, "branch")


def follow(path: Path, hub: Bare, branch: str, commit: str, *, ff: bool = True) -> FollowResult:
    """Show `commit` as `clawd/<branch>`, and fast-forward the checkout when that disturbs nobody.

    The fast-forward runs with the operator's configuration: their hooks and filters apply, as if
    they had typed it. Anything in the way is a reason in the answer, never an error.
    """
    found = inspect(path)
    target = ref(f"refs/remotes/clawd/{branch}")
    argv = ["fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head"]
    run([*argv, str(hub.path), f"+{oid(commit)}:{target}"], git_dir=found.git_dir)
    if not ff:
        return FollowResult(False, "clawd was told to leave the branch alone.")
    if found.head == commit and found.branch == branch:
        return FollowResult(True, "")
    obstacle = _obstacle(found, branch)
    if obstacle:
        return FollowResult(False, obstacle)
    try:
        run_as_operator(["merge", "--ff-only", "--quiet", commit], found.path)
    except GitError as error:
        return FollowResult(False, error.message)
    return FollowResult(True, "")


def _obstacle(found: OperatorRepo, branch: str) -> str:
    if found.bare:
        return "The repository is bare."
    if found.branch != branch:
        return f"The repository has {found.branch or 'no branch'} checked out, not {branch}."
    return "The checkout has uncommitted changes." if found.dirty else ""


def take_command(path: Path, branch: str, checked_out: str | None) -> str:
    """The one command that brings a landing into the operator's branch."""
    where = shlex.quote(str(path))
    if checked_out == branch:
        return f"git -C {where} merge --ff-only {shlex.quote(f'clawd/{branch}')}"
    return f"git -C {where} fetch . {shlex.quote(f'refs/remotes/clawd/{branch}:{branch}')}"


def undo_command(path: Path, landed: str) -> str:
    """The one command that takes a landing back out of a branch that has it."""
    return f"git -C {shlex.quote(str(path))} revert -m 1 {oid(landed)}"
