"""The operator's repository as `clawd init` finds it: usable, or the sentence that says why not."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clawd.adapters.git import operator
from clawd.adapters.git.bare import Bare
from clawd.adapters.git.command import Output
from clawd.adapters.git.operator import OperatorRepo
from clawd.errors import ClawdError, Refused
from clawd.setup.checklist import Checklist
from clawd.setup.choices import Choices
from clawd.setup.home import owner_name


class Theirs(Bare):
    """The operator's own repository, read by object: it may belong to another account."""

    def git(self, argv: Any, **options: Any) -> Output:
        return super().git(argv, foreign_owner=True, **options)


@dataclass(frozen=True, slots=True)
class Found:
    """A repository clawd can work on, at the commit it would begin with."""

    repo: OperatorRepo
    branch: str
    commit: str

    @property
    def path(self) -> Path:
        return self.repo.path


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def look(out: Checklist, home: Path, path: Path, wanted: Choices) -> Found:
    """Which repository, branch and commit; raises where clawd could not begin at all."""
    repo = operator.inspect(path)
    if repo.git_dir.resolve().is_relative_to(home.resolve()):
        raise Refused(
            f"{path} is a repository of clawd's own.", "Name the one you work in yourself."
        )
    branch, commit = _begin(repo, wanted)
    if repo.has_commits and not Theirs(repo.git_dir).files(commit):
        raise ClawdError(
            f"The branch {branch} of {repo.path} has no files.",
            f"Commit some: git -C {_quoted(repo.path)} add -A",
        )
    kind = "a bare repository, " if repo.bare else ""
    out.tick("repository", f"{repo.path}, {kind}branch {branch} at {commit[:12]}")
    if repo.dirty:
        out.warn(
            "checkout",
            "it has changes that are not committed; clawd works from commits and leaves them alone",
            "Commit or stash them: your branch follows landings only while it is clean.",
        )
    return Found(repo, branch, commit)


def _begin(repo: OperatorRepo, wanted: Choices) -> tuple[str, str]:
    owner = repo.git_dir.stat().st_uid
    if not repo.has_commits and owner != os.geteuid() and Theirs(repo.git_dir).refs("refs/heads"):
        # Git itself would not look into it, which reads as if there were nothing.
        raise ClawdError(
            f"{repo.path} belongs to {owner_name(owner)}, and git does not trust it.",
            f"Say that you do: git config --global --add safe.directory {_quoted(repo.path)}",
        )
    if wanted.branch is None or not repo.has_commits:
        return repo.require_branch()
    commit = Theirs(repo.git_dir).head(f"refs/heads/{wanted.branch}")
    if commit is None:
        raise ClawdError(
            f"{repo.path} has no branch {wanted.branch[:100]!r}.",
            f"See which there are: git -C {_quoted(repo.path)} branch",
        )
    return wanted.branch, commit
