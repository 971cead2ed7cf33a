"""Warm workspaces are handed out once, at the right commit, whoever asks at the same time."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from clawd.adapters.git.command import GitError
from clawd.adapters.git.warm import WarmPool
from tests.parts.git_ground import ADA, Ground, commit, git, make_ground, write


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return make_ground(tmp_path)


def test_a_warm_workspace_is_pointed_at_a_commit_made_after_it(ground: Ground) -> None:
    pool = WarmPool(ground.hub, ground.folder / "warm", 2)
    assert pool.refill(ground.base) == 2
    assert pool.refill(ground.base) == 0
    workspace = ground.workspace()
    commit(workspace, {"x.py": "x = 1\n"})
    made = ground.take(workspace)
    taken = pool.take(made.oid, ground.folder / "runs/1/work", identity=ADA)
    assert len(pool.ready()) == 1
    assert git(taken, "rev-parse", "HEAD", "refs/heads/task").split() == [made.oid, made.oid]
    assert git(taken, "status", "--porcelain") == ""
    assert git(taken, "config", "user.email") == ADA.email
    assert git(taken, "for-each-ref", "--format=%(refname)") == "refs/heads/task"
    assert (taken / "x.py").exists()
    write(taken, {"y.py": "y = 1\n"})
    ground.runs += 1
    assert ground.hub.parents(ground.take(taken, start=made.oid).oid) == [made.oid]


def test_an_empty_or_damaged_pool_still_gives_a_workspace(ground: Ground) -> None:
    pool = WarmPool(ground.hub, ground.folder / "warm", 1)
    fresh = pool.take(ground.base, ground.folder / "one")
    assert git(fresh, "status", "--porcelain") == ""
    pool.refill(ground.base)
    (pool.ready()[0] / ".git/index").write_bytes(b"garbage")
    again = pool.take(ground.base, ground.folder / "two")
    assert git(again, "status", "--porcelain") == ""
    assert pool.ready() == []
    with pytest.raises(GitError, match="exists already"):
        pool.take(ground.base, ground.folder / "two")


def test_half_made_workspaces_are_swept(ground: Ground) -> None:
    pool = WarmPool(ground.hub, ground.folder / "warm", 1)
    write(pool.folder, {"making-dead/file": "x"})
    pool.refill(ground.base)
    assert [path.name[:5] for path in pool.folder.iterdir()] == ["slot-"]


def test_many_takers_never_share_a_workspace(ground: Ground) -> None:
    pool = WarmPool(ground.hub, ground.folder / "warm", 4)
    pool.refill(ground.base)
    taken: list[Path] = []
    takers = [
        threading.Thread(
            target=lambda n=n: taken.append(pool.take(ground.base, ground.folder / f"w{n}"))
        )
        for n in range(8)
    ]
    for taker in takers:
        taker.start()
    for taker in takers:
        taker.join(60)
    assert len({path.stat().st_ino for path in taken}) == 8
    assert all(git(path, "status", "--porcelain") == "" for path in taken)
