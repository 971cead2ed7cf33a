"""The operator's repository is read with care and moved only when that disturbs nobody."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from clawd.adapters.git import merge, operator
from clawd.adapters.git.hub import Hub
from clawd.errors import ClawdError
from tests.parts.git_ground import ADA, PLAIN, WHEN, Ground, commit, git, make_ground, write


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return make_ground(tmp_path)


def landing(ground: Ground, files: dict[str, str]) -> str:
    workspace = ground.workspace()
    commit(workspace, files)
    work = ground.take(workspace)
    return ground.hub.commit(work.tree, [ground.base, work.oid], "Land", ADA, WHEN)


def test_a_repository_is_described(ground: Ground, tmp_path: Path) -> None:
    git(ground.operator, "remote", "add", "origin", "https://example.org/x.git")
    found = operator.inspect(ground.operator / "docs")
    assert found.path == ground.operator
    assert (found.branch, found.head, found.dirty) == ("main", ground.base, False)
    assert found.remotes == {"origin": "https://example.org/x.git"}
    assert found.require_branch() == ("main", ground.base)
    write(ground.operator, {"untracked": "1"})
    assert not operator.inspect(ground.operator).dirty
    write(ground.operator, {"a.py": "edited\n"})
    assert operator.inspect(ground.operator).dirty
    assert operator.tracked_files(ground.operator) == [".gitignore", "a.py", "docs/b.md"]


def test_inherited_git_variables_do_not_mislead(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_ground(tmp_path / "other", {"o": "1"})
    monkeypatch.setenv("GIT_DIR", str(other.operator / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other.operator))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "no index"))
    found = operator.inspect(ground.operator)
    assert (found.path, found.head, found.dirty) == (ground.operator, ground.base, False)


def test_what_cannot_be_built_on_is_said_with_a_remedy(ground: Ground, tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(ClawdError) as caught:
            operator.inspect(path)
        assert caught.value.remedy
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "-q", "-b", "trunk")
    found = operator.inspect(empty)
    assert (found.has_commits, found.branch, found.head) == (False, "trunk", None)
    with pytest.raises(ClawdError, match="no commits"):
        found.require_branch()
    git(ground.operator, "checkout", "-q", "--detach")
    with pytest.raises(ClawdError, match="detached"):
        operator.inspect(ground.operator).require_branch()
    with pytest.raises(ClawdError, match="could not be read"):
        ground.hub.sync_from(ground.operator, "nothing")


def test_a_shallow_and_a_bare_repository_can_be_followed_from(
    ground: Ground, tmp_path: Path
) -> None:
    second = commit(ground.operator, {"x": "1"})
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{ground.operator}", "shallow")
    hub = Hub.create(tmp_path / "shallow.git")
    assert hub.sync_from(tmp_path / "shallow", "main") == second
    shallow = Ground(tmp_path / "s", tmp_path / "shallow", hub, second)
    shallow.folder.mkdir()
    workspace = shallow.workspace()
    commit(workspace, {"y": "1"})
    assert hub.parents(shallow.take(workspace).oid) == [second]
    git(tmp_path, "clone", "-q", "--bare", str(ground.operator), "bare.git")
    found = operator.inspect(tmp_path / "bare.git")
    assert (found.bare, found.branch, found.head) == (True, "main", second)
    assert not operator.follow(tmp_path / "bare.git", ground.hub, "main", ground.base).moved


def test_a_clean_checkout_follows_a_landing(ground: Ground) -> None:
    landed = landing(ground, {"x.py": "x = 1\n"})
    assert operator.follow(ground.operator, ground.hub, "main", landed).moved
    assert (
        git(ground.operator, "rev-parse", "HEAD", "refs/remotes/clawd/main").split() == [landed] * 2
    )
    assert (ground.operator / "x.py").exists()
    assert git(ground.operator, "status", "--porcelain") == ""
    assert operator.follow(ground.operator, ground.hub, "main", landed).moved


def test_a_checkout_in_use_is_left_alone_and_the_reason_is_said(ground: Ground) -> None:
    landed = landing(ground, {"x.py": "x = 1\n"})
    at = ground.operator

    def follow(**options: bool) -> operator.FollowResult:
        result = operator.follow(at, ground.hub, "main", landed, **options)
        assert not result.moved
        assert git(at, "rev-parse", "main") != landed
        assert git(at, "rev-parse", "refs/remotes/clawd/main") == landed
        return result

    assert "told to" in follow(ff=False).why
    write(at, {"a.py": "edited\n"})
    assert "uncommitted" in follow().why
    assert (at / "a.py").read_text() == "edited\n"
    git(at, "checkout", "-q", "a.py")
    write(at, {"x.py": "in the way\n"})
    assert follow().why
    assert (at / "x.py").read_text() == "in the way\n"
    (at / "x.py").unlink()
    (at / ".git/index.lock").write_text("")
    assert follow().why
    (at / ".git/index.lock").unlink()
    git(at, "switch", "-q", "-c", "feature")
    assert "feature checked out" in follow().why
    git(at, "switch", "-q", "main")
    commit(at, {"own.py": "1"})
    assert follow().why


def test_following_respects_the_operators_hooks(ground: Ground, tmp_path: Path) -> None:
    hook = ground.operator / ".git/hooks/post-merge"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch '{tmp_path}/ran'\n")
    hook.chmod(0o755)
    landed = landing(ground, {"x.py": "x = 1\n"})
    operator.follow(ground.operator, ground.hub, "main", landed, ff=False)
    assert not (tmp_path / "ran").exists()
    assert operator.follow(ground.operator, ground.hub, "main", landed).moved
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("checked_out", ["main", "feature"])
def test_the_commands_in_a_notice_take_a_landing_and_undo_it(
    ground: Ground, checked_out: str
) -> None:
    landed = landing(ground, {"x.py": "x = 1\n"})
    operator.follow(ground.operator, ground.hub, "main", landed, ff=False)
    if checked_out != "main":
        git(ground.operator, "switch", "-q", "-c", checked_out)

    def type_in(command: str) -> None:
        assert command.startswith("git -C ")
        subprocess.run(shlex.split(command), env={**PLAIN, "GIT_EDITOR": "true"}, check=True)

    type_in(operator.take_command(ground.operator, "main", checked_out))
    assert git(ground.operator, "rev-parse", "main") == landed
    git(ground.operator, "switch", "-q", "main")
    type_in(operator.undo_command(ground.operator, landed))
    assert not (ground.operator / "x.py").exists()
    hub_tip = ground.hub.sync_from(ground.operator, "main")
    assert merge.merge(ground.hub, landed, hub_tip).tree == ground.hub.tree_of(ground.base)


def test_a_roadmap_is_read_from_the_working_copy_or_else_from_the_branch(ground: Ground) -> None:
    at = ground.operator
    assert operator.read_file(at, "main", "ROADMAP.md") is None
    commit(at, {"ROADMAP.md": "committed\n"})
    write(at, {"ROADMAP.md": "edited\n"})
    assert operator.read_file(at, "main", "ROADMAP.md") == operator.FileText(
        b"edited\n", "working copy"
    )
    git(at, "switch", "-q", "-c", "feature")
    assert operator.read_file(at, "main", "ROADMAP.md") == operator.FileText(
        b"committed\n", "branch"
    )
    assert operator.read_file(at, "nothing", "ROADMAP.md") is None
    git(at, "worktree", "add", "-q", "../linked", "main")
    (at.parent / "linked/ROADMAP.md").write_text("linked\n")
    assert operator.read_file(at.parent / "linked", "main", "ROADMAP.md") == operator.FileText(
        b"linked\n", "working copy"
    )
