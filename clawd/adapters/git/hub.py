"""The daemon's own bare repository of a project: between the operator's and the agents' clones."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from clawd.adapters.git import intake, locks
from clawd.adapters.git.bare import Bare
from clawd.adapters.git.clone import EXCLUDE, make_clone
from clawd.adapters.git.command import GitError, oid, ref, run
from clawd.adapters.git.intake import Candidate, run_ref
from clawd.adapters.git.message import Identity
from clawd.adapters.git.refusal import Caps
from clawd.errors import ClawdError

SCRATCH_AGE_S = 3600.0
_IDENTITY = "clawd-id"
_HUB_CONFIG = """
[gc]
\tauto = 0
[uploadpack]
\tallowAnySHA1InWant = true
[core]
\tlogAllRefUpdates = true
"""


class Hub(Bare):
    """One project's bare repository. Refs: `refs/heads/<main>`, `refs/operator/*`, `refs/clawd/*`.

    `refs/clawd/raw/<run>` is what an agent committed, `refs/clawd/run/<run>` the candidate made
    of it, `refs/clawd/salvage/<run>` what a failed run left.
    """

    @classmethod
    def create(cls, path: Path, branch: str = "main") -> Hub:
        """Open the hub at `path`, making it first when it is not there; safe to repeat."""
        path = Path(path).absolute()
        if not (path / "HEAD").exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            made = Path(tempfile.mkdtemp(prefix=".hub-", dir=path.parent))
            run(
                [
                    "init",
                    "--quiet",
                    "--bare",
                    "--template=",
                    f"--initial-branch={branch}",
                    str(made),
                ]
            )
            (made / "info").mkdir(exist_ok=True)
            (made / "info" / "exclude").write_text(EXCLUDE)
            with (made / "config").open("a") as config:
                config.write(_HUB_CONFIG)
            (made / _IDENTITY).write_text(uuid.uuid4().hex)
            try:
                made.rename(path)
            except OSError:  # another starter was faster
                shutil.rmtree(made, ignore_errors=True)
        return cls(path)

    @property
    def identity(self) -> str:
        """Another for a hub that was made anew; a copy of this one has the same."""
        try:
            return (self.path / _IDENTITY).read_text()
        except FileNotFoundError:
            return ""

    def sync_from(self, operator_repo: Path, branch: str) -> str:
        """Fetch the operator's branch into `refs/operator/<branch>`; theirs is only read."""
        return self._fetch(operator_repo, branch, f"refs/heads/{branch}", f"refs/operator/{branch}")

    def shown_in(self, operator_repo: Path, branch: str) -> str:
        """Fetch what clawd last showed the operator: main as it stood before this hub was lost."""
        source = f"refs/remotes/clawd/{branch}"
        return self._fetch(operator_repo, f"clawd/{branch}", source, f"refs/clawd/shown/{branch}")

    def _fetch(self, operator_repo: Path, name: str, source: str, target: str) -> str:
        try:
            self.git(
                [
                    "fetch",
                    "--quiet",
                    "--no-tags",
                    "--no-recurse-submodules",
                    "--no-write-fetch-head",
                    "--update-shallow",
                    str(Path(operator_repo).absolute()),
                    f"+{ref(source)}:{ref(target)}",
                ],
                foreign_owner=True,
                timeout_s=100,
            )
        except GitError as error:
            raise ClawdError(
                f"Branch {name!r} could not be read from {operator_repo}: {error.message}",
                f"Check that the branch exists: git -C {operator_repo} branch",
            ) from error
        return self.resolve(target)

    def clone_to(
        self, path: Path, commit: str, branch: str = "task", identity: Identity | None = None
    ) -> Path:
        """A private clone with its own objects, `branch` checked out at `commit`, no remote."""
        return make_clone(self, path, commit, branch, identity)

    def import_candidate(
        self,
        workspace: Path,
        run_id: int,
        base: str,
        identity: Identity,
        trailers: Mapping[str, str],
        *,
        start: str | None = None,
        when: datetime | None = None,
        caps: Caps | None = None,
    ) -> Candidate:
        """Take a finished run's work out of its workspace into `refs/clawd/run/<run_id>`.

        `start` is the commit the workspace was cloned at when that is not `base` (a revise round
        begins at its candidate): commits up to it are kept as they are. Raises
        `CandidateRefused` with a closed reason; git never reads the workspace's git dir.
        """
        return intake.import_candidate(
            self,
            Path(workspace),
            run_id,
            oid(base),
            identity,
            trailers,
            start=start,
            when=when or datetime.now(UTC),
            caps=caps or Caps(),
        )

    def candidate_of(self, run_id: int, base: str) -> Candidate | None:
        """What an earlier import of this run made, for a daemon that died before it was settled."""
        tip = self.head(run_ref(run_id))
        return None if tip is None else intake.describe(self, tip, oid(base))

    def salvage(self, workspace: Path, run_id: int, base: str | None = None) -> str | None:
        """Keep what a failed run left, committed or not, in `refs/clawd/salvage/<run_id>`."""
        return intake.salvage(self, Path(workspace), run_id, base, datetime.now(UTC))

    def tidy(self) -> None:
        """Hourly care: leftovers of a crash, stale locks, packed refs, few packs."""
        for left in (self.path / "scratch").glob("*"):
            if time.time() - left.stat().st_mtime > SCRATCH_AGE_S:
                shutil.rmtree(left, ignore_errors=True)
        locks.clear_stale(self.path)
        self.git(["pack-refs", "--all"])
        self.git(["repack", "-d", "-q", "--geometric=2"], timeout_s=100)
        self.git(["prune", "--expire=14.days.ago"], timeout_s=100)

    def size_bytes(self) -> int:
        """What the objects weigh on disk."""
        folders = os.walk(self.path / "objects")
        return sum((Path(at) / name).stat().st_size for at, _, names in folders for name in names)
