"""Merges, reverts, digests and ref moves in the hub's object store."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from clawd.adapters.git import merge, tree
from clawd.adapters.git.command import GitError
from tests.parts.git_ground import ADA, TRAILERS, WHEN, Ground, commit, git, make_ground, write


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return make_ground(tmp_path)


def candidate(ground: Ground, files: dict[str, str], base: str | None = None) -> str:
    workspace = ground.workspace(base)
    commit(workspace, files)
    return ground.take(workspace, base).oid


def land(ground: Ground, work: str, tip: str) -> str:
    made = merge.merge(ground.hub, tip, work)
    assert made.tree is not None
    return merge.commit_merge(ground.hub, made.tree, [tip, work], "Land it", ADA, WHEN, TRAILERS)


def test_two_candidates_that_do_not_touch_merge_in_memory(ground: Ground) -> None:
    one = candidate(ground, {"x.py": "x = 1\n"})
    two = candidate(ground, {"y.py": "y = 1\n"})
    made = merge.merge(ground.hub, one, two)
    assert made.conflicts == []
    assert made.tree is not None
    assert set(ground.hub.files(made.tree)) >= {"x.py", "y.py", "a.py"}


def test_a_conflict_is_named_by_file_without_a_checkout(ground: Ground) -> None:
    name = 'docs/quo"te\n é.md'
    one = candidate(ground, {"a.py": "one = 11\n", name: "left\n"})
    two = candidate(ground, {"a.py": "one = 12\n", name: "right\n"})
    made = merge.merge(ground.hub, one, two)
    assert made.tree is None
    assert sorted(made.conflicts) == sorted(["a.py", name])
    assert "CONFLICT (content)" in made.messages
    assert "CONFLICT (add/add)" in made.messages
    assert b"<<<<<<<" in (ground.hub.read(made.marked, "a.py") or b"")


def test_a_merge_driver_named_by_an_agent_is_undefined_in_the_hub(ground: Ground) -> None:
    one = candidate(ground, {".gitattributes": "* merge=evil\n", "a.py": "one = 11\n"})
    two = candidate(ground, {".gitattributes": "* merge=evil\n", "a.py": "one = 12\n"})
    assert merge.merge(ground.hub, one, two).conflicts == ["a.py"]


def test_a_ref_moves_only_from_where_it_was_seen(ground: Ground) -> None:
    work = candidate(ground, {"x.py": "x = 1\n"})
    landed = land(ground, work, ground.base)
    hub = ground.hub
    assert not merge.swap(hub, "refs/heads/main", landed, work)
    assert hub.head("refs/heads/main") == ground.base
    assert merge.swap(hub, "refs/heads/main", landed, ground.base)
    assert not merge.swap(hub, "refs/heads/main", landed, ground.base)
    assert hub.is_ancestor(work, landed)
    assert hub.parents(landed) == [ground.base, work]
    assert merge.swap(hub, "refs/clawd/test/new", work, None)
    assert not merge.swap(hub, "refs/clawd/test/new", landed, None)
    assert not merge.delete_ref(hub, "refs/clawd/test/new", landed)
    assert merge.delete_ref(hub, "refs/clawd/test/new", work)
    assert not merge.delete_ref(hub, "refs/clawd/test/new", work)
    assert merge.delete_ref(hub, "refs/clawd/test/new")


def test_a_ref_name_that_cannot_exist_beside_another_is_an_error(ground: Ground) -> None:
    with pytest.raises(GitError, match="could not be moved"):
        merge.swap(ground.hub, "refs/heads/main/below", ground.base, None)


def test_a_lock_a_dead_git_left_two_minutes_ago_does_not_stop_a_landing(ground: Ground) -> None:
    landed = land(ground, candidate(ground, {"x.py": "x = 1\n"}), ground.base)
    lock = ground.hub.path / "refs/heads/main.lock"
    lock.write_text("")
    with pytest.raises(GitError, match="could not be moved"):
        merge.swap(ground.hub, "refs/heads/main", landed, ground.base)
    assert lock.exists()
    os.utime(lock, (time.time() - 121, time.time() - 121))
    assert merge.swap(ground.hub, "refs/heads/main", landed, ground.base)
    assert not lock.exists()


def test_tidy_removes_old_locks_and_scratch_and_keeps_everything_else(ground: Ground) -> None:
    work = candidate(ground, {"x.py": "x = 1\n"})
    old = time.time() - 7200
    for left in (ground.hub.path / "packed-refs.lock", ground.hub.path / "scratch/old"):
        left.write_text("") if left.suffix else left.mkdir()
        os.utime(left, (old, old))
    ground.hub.tidy()
    assert not (ground.hub.path / "packed-refs.lock").exists()
    assert list((ground.hub.path / "scratch").iterdir()) == []
    assert ground.hub.head(f"refs/clawd/run/{ground.runs}") == work
    assert ground.fsck() == ""


def test_a_landing_is_undone_in_memory_with_later_work_kept(ground: Ground) -> None:
    first = land(ground, candidate(ground, {"x.py": "x = 1\n"}), ground.base)
    later = land(ground, candidate(ground, {"y.py": "y = 1\n"}), first)
    undone = merge.revert_tree(ground.hub, first, later)
    assert undone.tree is not None
    assert set(ground.hub.files(undone.tree)) == {"a.py", "docs/b.md", ".gitignore", "y.py"}
    again = merge.revert_tree(ground.hub, first, ground.base)
    assert again.tree == ground.hub.tree_of(ground.base)


def test_undoing_what_was_built_upon_names_the_files(ground: Ground) -> None:
    first = land(ground, candidate(ground, {"x.py": "x = 1\n"}), ground.base)
    later = land(ground, candidate(ground, {"x.py": "x = 2\n"}, first), first)
    assert merge.revert_tree(ground.hub, first, later).conflicts == ["x.py"]
    with pytest.raises(GitError, match="first commit"):
        merge.revert_tree(ground.hub, ground.base, later)


def test_the_same_patch_has_the_same_digest_on_a_moved_base(ground: Ground) -> None:
    lines = [f"line {number}\n" for number in range(60)]
    base = land(ground, candidate(ground, {"long.txt": "".join(lines)}), ground.base)
    changed = [*lines[:50], "changed\n", *lines[51:]]
    one = candidate(ground, {"long.txt": "".join(changed)}, base)
    moved = land(ground, candidate(ground, {"long.txt": "new\n" + "".join(lines)}, base), base)
    two = candidate(ground, {"long.txt": "new\n" + "".join(changed)}, moved)
    digest = merge.patch_digest(ground.hub, base, one)
    assert digest == merge.patch_digest(ground.hub, moved, two)
    assert digest != merge.patch_digest(ground.hub, base, moved)


def test_white_space_modes_names_and_binary_content_count_in_a_digest(ground: Ground) -> None:
    texts = [
        {"f.py": "if a:\n    b()\n    c()\n"},
        {"f.py": "if a:\n    b()\nc()\n"},
        {"g.py": "if a:\n    b()\n    c()\n"},
        {"f.bin": "\0one"},
        {"f.bin": "\0two"},
    ]
    digests = [merge.patch_digest(ground.hub, ground.base, candidate(ground, t)) for t in texts]
    workspace = ground.workspace()
    write(workspace, texts[0])
    (workspace / "f.py").chmod(0o755)
    made = ground.take(workspace)
    digests.append(merge.patch_digest(ground.hub, ground.base, made.oid))
    assert len(set(digests)) == len(digests)


def test_changes_are_listed_with_odd_names_and_counts(ground: Ground) -> None:
    odd = "-- ünï\t'q\"\n.txt"
    work = candidate(ground, {odd: "1\n2\n", "a.py": "one = 1\n", "b.bin": "\0\1"})
    changes = {change.path: change for change in merge.changed(ground.hub, ground.base, work)}
    assert changes[odd] == merge.Change(odd, "A", 2, 0, False, "100644")
    assert changes["a.py"] == merge.Change("a.py", "M", 0, 2, False, "100644")
    assert changes["b.bin"].binary
    text = merge.patch_text(ground.hub, ground.base, work)
    assert "-two = 2" in text
    assert merge.patch_text(ground.hub, ground.base, work, 50).endswith("[cut after 50 bytes]\n")


def test_a_tree_is_laid_out_for_tests_without_a_git_folder(ground: Ground, tmp_path: Path) -> None:
    work = candidate(ground, {"run.sh": "true\n", ".gitattributes": "* filter=evil\n"})
    dest = tree.export(ground.hub, work, tmp_path / "check tree")
    assert sorted(path.name for path in dest.iterdir()) == [
        ".gitattributes", ".gitignore", "a.py", "docs", "run.sh",
    ]  # fmt: skip
    with pytest.raises(GitError, match="is not empty"):
        tree.export(ground.hub, work, dest)


def test_a_bounced_task_starts_with_the_conflict_open_in_its_files(
    ground: Ground, tmp_path: Path
) -> None:
    work = candidate(ground, {"a.py": "one = 11\n", "mine.py": "mine = 1\n"})
    main = land(ground, candidate(ground, {"a.py": "one = 12\n"}), ground.base)
    ground.runs += 1
    workspace = tmp_path / "second try"
    assert tree.merge_markers(ground.hub, main, work, workspace, identity=ADA) == ["a.py"]
    assert "<<<<<<<" in (workspace / "a.py").read_text()
    assert (workspace / "mine.py").exists()
    assert "UU a.py" in git(workspace, "status", "--porcelain")
    commit(workspace, {"a.py": "one = 11 + 12\n"}, "settle the conflict")
    made = ground.take(workspace, main)
    assert ground.hub.parents(made.oid) == [main]
    assert merge.merge(ground.hub, main, made.oid).tree == made.tree
    names = {change.path for change in merge.changed(ground.hub, main, made.oid)}
    assert names == {"a.py", "mine.py"}


def test_a_workspace_made_unreadable_can_still_be_removed(ground: Ground) -> None:
    workspace = ground.workspace()
    (workspace / "docs").chmod(0)
    (workspace / ".git/objects").chmod(0o500)
    workspace.chmod(0o500)
    tree.remove(workspace)
    assert not workspace.exists()
    tree.remove(workspace)


def test_one_file_of_a_tree_is_replaced_without_a_checkout(ground: Ground) -> None:
    made = tree.with_file(ground.hub, ground.base, "a.py", b"new\n")
    assert ground.hub.read(made, "a.py") == b"new\n"
    assert [c.path for c in merge.changed(ground.hub, ground.base, made)] == ["a.py"]
