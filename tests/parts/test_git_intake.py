"""A run's work comes out of its workspace under the right name, whole, or refused with a reason."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from clawd.adapters.git.message import Identity, compose
from clawd.adapters.git.refusal import CandidateRefused, Caps, Refusal
from tests.parts.git_ground import ADA, TRAILERS, WHEN, Ground, commit, git, make_ground, write


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return make_ground(tmp_path)


def log(ground: Ground, name: str, form: str) -> str:
    return git(ground.hub.path, "log", "-1", f"--format={form}", name)


def refused(ground: Ground, workspace: Path) -> CandidateRefused:
    with pytest.raises(CandidateRefused) as caught:
        ground.take(workspace)
    assert caught.value.remedy
    assert ground.hub.head(f"refs/clawd/run/{ground.runs}") is None
    assert ground.fsck() == ""
    return caught.value


def test_a_clone_is_private_complete_and_named(ground: Ground) -> None:
    workspace = ground.workspace()
    assert git(workspace, "status", "--porcelain") == ""
    assert git(workspace, "symbolic-ref", "HEAD") == "refs/heads/task"
    assert git(workspace, "remote") == ""
    assert git(workspace, "for-each-ref", "--format=%(refname)") == "refs/heads/task"
    assert git(workspace, "config", "user.name") == ADA.name
    write(workspace, {".clawd/current-task.json": "{}", "__pycache__/a.pyc": "x"})
    assert git(workspace, "status", "--porcelain") == ""
    assert "origin" not in (workspace / ".git/config").read_text()
    hub_inodes = {p.stat().st_ino for p in (ground.hub.path / "objects").rglob("*") if p.is_file()}
    own = {p.stat().st_ino for p in (workspace / ".git/objects").rglob("*") if p.is_file()}
    assert own
    assert not own & hub_inodes


def test_an_identity_cannot_write_into_the_clones_config(ground: Ground) -> None:
    evil = Identity('x"\n[core]\n\tfsmonitor = touch canary\n#\\', "e@x")
    workspace = ground.hub.clone_to(ground.folder / "evil name", ground.base, identity=evil)
    names = git(workspace, "config", "--local", "--list", "--name-only").splitlines()
    assert "core.fsmonitor" not in names
    assert git(workspace, "config", "user.email") == "e@x"


def test_commits_keep_their_messages_and_get_the_agents_name_and_trailers(ground: Ground) -> None:
    workspace = ground.workspace()
    git(workspace, "config", "user.name", "The Operator")
    commit(workspace, {"x.py": "x = 1\n"}, "First step\n\nbecause of y")
    commit(workspace, {"y.py": "y = 1\n"}, "Second step")
    made = ground.take(workspace)
    assert (made.commits, made.no_change, made.base) == (2, False, ground.base)
    for name in (made.oid, f"{made.oid}^"):
        who = f"{ADA.name} <{ADA.email}>"
        assert log(ground, name, "%an <%ae>|%cn <%ce>") == f"{who}|{who}"
        keys = log(ground, name, "%(trailers:only)").splitlines()
        assert keys == ["Clawd-Task: 12", "Clawd-Run: 7", "Clawd-Agent: ada"]
    assert log(ground, f"{made.oid}^", "%B").startswith("First step\n\nbecause of y")
    assert ground.hub.head(f"refs/clawd/run/{ground.runs}") == made.oid
    assert ground.take(workspace) == made
    assert ground.hub.candidate_of(ground.runs, ground.base) == made
    assert ground.hub.candidate_of(99, ground.base) is None


def test_uncommitted_work_comes_along_and_ignored_files_do_not(ground: Ground) -> None:
    workspace = ground.workspace()
    commit(workspace, {"x.py": "x = 1\n"}, "Step")
    odd = '- ünï "q"\n\'.py'
    write(workspace, {"a.py": "changed\n", odd: "odd\n", "debug.log": "noise", "new/deep/f": "f"})
    write(workspace, {".clawd/outbox.json": "{}", "__pycache__/x.cpython-311.pyc": "x"})
    (workspace / "docs/b.md").unlink()
    (workspace / "link").symlink_to("new/deep/f")
    (workspace / "x.py").chmod(0o755)
    made = ground.take(workspace)
    assert sorted(ground.hub.files(made.oid)) == sorted(
        [".gitignore", "a.py", odd, "new/deep/f", "link", "x.py"]
    )
    assert made.commits == 2
    assert log(ground, made.oid, "%s") == "Work the run left uncommitted"
    assert "100755" in git(ground.hub.path, "ls-tree", made.oid, "x.py")


def test_a_file_that_became_a_folder_and_a_folder_that_became_a_file(ground: Ground) -> None:
    workspace = ground.workspace()
    (workspace / "a.py").unlink()
    shutil.rmtree(workspace / "docs")
    write(workspace, {"a.py/inner": "1", "docs": "2"})
    assert sorted(ground.hub.files(ground.take(workspace).oid)) == [
        ".gitignore",
        "a.py/inner",
        "docs",
    ]


def test_nothing_done_is_no_change(ground: Ground) -> None:
    workspace = ground.workspace()
    made = ground.take(workspace)
    assert (made.oid, made.no_change, made.commits) == (ground.base, True, 0)
    commit(workspace, {"x.py": "x = 1\n"})
    git(workspace, "revert", "--no-edit", "HEAD")
    assert ground.take(workspace).no_change


def test_a_second_round_keeps_the_first_rounds_commits_as_they_were(ground: Ground) -> None:
    workspace = ground.workspace()
    commit(workspace, {"x.py": "x = 1\n"}, "Round one")
    first = ground.take(workspace)
    again = ground.workspace(first.oid)
    assert git(again, "rev-parse", "HEAD") == first.oid
    commit(again, {"x.py": "x = 2\n"}, "Round two")
    second = ground.take(again, start=first.oid)
    assert ground.hub.parents(second.oid) == [first.oid]
    assert (second.commits, second.base) == (2, ground.base)
    untouched = ground.take(ground.workspace(first.oid), start=first.oid)
    assert untouched.oid == first.oid


def test_merges_and_rewritten_history_become_one_commit_on_the_base(ground: Ground) -> None:
    merged = ground.workspace()
    git(merged, "switch", "-q", "-c", "side")
    commit(merged, {"x.py": "x = 1\n"}, "On the side")
    git(merged, "switch", "-q", "task")
    commit(merged, {"y.py": "y = 1\n"}, "On the branch")
    git(merged, "merge", "-q", "--no-ff", "--no-edit", "side")
    made = ground.take(merged)
    assert (made.commits, ground.hub.parents(made.oid)) == (1, [ground.base])
    assert "On the side" in log(ground, made.oid, "%B")
    fresh = ground.workspace()
    shutil.rmtree(fresh / ".git")
    git(fresh, "init", "-q", "-b", "other")
    commit(fresh, {"z.py": "z = 1\n"}, "New history")
    made = ground.take(fresh)
    assert (made.commits, ground.hub.parents(made.oid)) == (1, [ground.base])
    assert sorted(ground.hub.files(made.oid)) == [".gitignore", "a.py", "docs/b.md", "z.py"]


def test_amending_the_base_and_a_detached_head_still_land_on_the_base(ground: Ground) -> None:
    workspace = ground.workspace()
    write(workspace, {"x.py": "x = 1\n"})
    git(workspace, "add", "-A")
    git(workspace, "commit", "-q", "--amend", "-m", "Amended main")
    git(workspace, "checkout", "-q", "--detach")
    git(workspace, "pack-refs", "--all")
    made = ground.take(workspace)
    assert ground.hub.parents(made.oid) == [ground.base]


def test_work_after_the_agents_own_gc_is_found(ground: Ground) -> None:
    workspace = ground.workspace()
    commit(workspace, {"x.py": "x = 1\n"})
    git(workspace, "gc", "-q", "--prune=now")
    assert (workspace / ".git/packed-refs").exists()
    assert "x.py" in ground.hub.files(ground.take(workspace).oid)
    assert ground.fsck() == ""


FORGED = [
    "Fix\nClawd-Task: 99",
    "Fix\n\nClawd-Task: 99\nClawd-Agent: root",
    "Fix\r\rClawd-Task: 99",
    "Fix\n\n  clawd-task : 99\n---\nClawd-Task: 98",
    "Clawd-Task: 99",
    "Fix\n\nClawd-Task: 99\n\n\n",
    "Fix\n\nClawd-Run\x00: 1\nClawd-\x08Run: 1",
]


@pytest.mark.parametrize("message", FORGED)
def test_no_message_can_forge_a_trailer(ground: Ground, message: str) -> None:
    ours = ["Clawd-Task: 12", "Clawd-Run: 7", "Clawd-Agent: ada"]
    name = ground.hub.commit(
        ground.hub.tree_of(ground.base), [ground.base], message, ADA, WHEN, TRAILERS
    )
    assert log(ground, name, "%(trailers:only)").splitlines() == ours
    for divider in ("--divider", "--no-divider"):
        flag = [] if divider == "--divider" else [divider]
        body = log(ground, name, "%B")
        parsed = git(ground.hub.path, "interpret-trailers", "--parse", *flag, stdin=body)
        assert "99" not in parsed
        assert "root" not in parsed
    assert log(ground, name, "%(trailers:key=Clawd-Task,valueonly)").split() == ["12"]


def test_a_title_with_a_line_break_cannot_forge_a_trailer_through_its_value() -> None:
    text = compose("Title\nClawd-Task: 99", {"Clawd-Task": "12\nClawd-Task: 99"})
    assert text == "Title\n> Clawd-Task: 99\n\nClawd-Task: 12 Clawd-Task: 99\n"
    with pytest.raises(ValueError, match="trailer key"):
        compose("x", {"Bad key": "y"})
    assert compose("\ud800 \x00", {}) == "?\n"


def test_forged_trailers_in_an_agents_own_commit_are_quoted(ground: Ground) -> None:
    workspace = ground.workspace()
    commit(workspace, {"x.py": "x = 1\n"}, "Step\n\nClawd-Task: 99\nCo-Authored-By: B <b@x>")
    made = ground.take(workspace)
    assert log(ground, made.oid, "%(trailers:key=Clawd-Task,valueonly)").split() == ["12"]
    assert "> Clawd-Task: 99" in log(ground, made.oid, "%B")


@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("target", ["/etc/passwd", "../../outside", "docs/../../x", ".git/config"])
def test_a_link_that_leaves_the_tree_is_refused(
    ground: Ground, target: str, committed: bool
) -> None:
    workspace = ground.workspace()
    (workspace / "docs/link").symlink_to(target)
    if committed:
        commit(workspace, {}, "A link")
    error = refused(ground, workspace)
    assert (error.reason, error.path) == (Refusal.SYMLINK_OUTSIDE, "docs/link")


def test_a_folder_swapped_for_a_link_is_refused_and_not_followed(ground: Ground) -> None:
    outside = ground.folder / "outside"
    write(outside, {"b.md": "secret"})
    workspace = ground.workspace()
    shutil.rmtree(workspace / "docs")
    (workspace / "docs").symlink_to(outside)
    assert refused(ground, workspace).reason is Refusal.SYMLINK_OUTSIDE


def test_links_inside_the_tree_are_taken(ground: Ground) -> None:
    workspace = ground.workspace()
    (workspace / "docs/up").symlink_to("../a.py")
    (workspace / "here").symlink_to("./docs/b.md")
    assert {"docs/up", "here"} <= set(ground.hub.files(ground.take(workspace).oid))


@pytest.mark.parametrize("committed", [True, False])
def test_a_nested_repository_is_refused(ground: Ground, committed: bool) -> None:
    workspace = ground.workspace()
    nested = workspace / "vendor"
    nested.mkdir()
    git(nested, "init", "-q")
    commit(nested, {"n.py": "1"})
    if committed:
        git(workspace, "-c", "advice.addEmbeddedRepo=false", "add", "vendor")
        git(workspace, "commit", "-q", "-m", "nested")
    assert refused(ground, workspace).reason is Refusal.GITLINK


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({".clawd/outbox.json": "{}"}, Refusal.CLAWD_FOLDER),
        ({".CLAWD/x": "{}"}, Refusal.CLAWD_FOLDER),
        ({".gitmodules": '[submodule "x"]\n\tpath = x\n\turl = ./x\n'}, Refusal.GITMODULES),
        ({".gitmodules": '[submodule "x"]\n\tupdate = !touch c\n'}, Refusal.GITMODULES),
        ({"docs/.GITMODULES": "x"}, Refusal.GITMODULES),
        ({"big.bin": "x" * 10_000_001}, Refusal.FILE_TOO_LARGE),
    ],
)
def test_what_a_commit_may_not_carry(
    ground: Ground, files: dict[str, str], reason: Refusal
) -> None:
    workspace = ground.workspace()
    write(workspace, files)
    git(workspace, "add", "-f", *files)
    git(workspace, "commit", "-q", "-m", "carry")
    assert refused(ground, workspace).reason is reason


def test_a_git_folder_in_disguise_is_refused(ground: Ground) -> None:
    workspace = ground.workspace()
    blob = git(workspace, "hash-object", "-w", "a.py")
    for name in (".GIT", "git~1", ".g\u200cit"):
        inner = git(workspace, "mktree", stdin=f"100644 blob {blob}\tconfig\n")
        tree = git(workspace, "mktree", stdin=f"040000 tree {inner}\t{name}\n")
        made = git(workspace, "commit-tree", tree, "-p", ground.base, "-m", "disguise")
        git(workspace, "update-ref", "refs/heads/task", made)
        assert refused(ground, workspace).reason in (Refusal.GIT_PATH, Refusal.BROKEN_OBJECTS)


def test_blemishes_removed_on_the_way_do_not_reach_history(ground: Ground) -> None:
    workspace = ground.workspace()
    write(workspace, {".clawd/outbox.json": "{}", "x.py": "1"})
    git(workspace, "add", "-f", ".")
    git(workspace, "commit", "-q", "-m", "oops")
    git(workspace, "rm", "-q", "--cached", "-r", ".clawd")
    git(workspace, "commit", "-q", "-m", "taken back")
    made = ground.take(workspace)
    assert made.commits == 1
    assert ".clawd" not in git(ground.hub.path, "log", "--name-only", "--format=", made.oid)


def test_sizes_and_counts_are_bounded(ground: Ground) -> None:
    caps = Caps(file_bytes=1000, total_bytes=2000, files=5)

    def reason(files: dict[str, str], committed: bool) -> Refusal:
        workspace = ground.workspace()
        write(workspace, files)
        if committed:
            commit(workspace, {})
        with pytest.raises(CandidateRefused) as caught:
            ground.hub.import_candidate(
                workspace, ground.runs, ground.base, ADA, TRAILERS, when=WHEN, caps=caps
            )
        return caught.value.reason

    for committed in (True, False):
        assert reason({"f": "x" * 1001}, committed) is Refusal.FILE_TOO_LARGE
        assert reason({f"f{n}": f"{n}" * 900 for n in range(3)}, committed) is Refusal.TOO_LARGE
    assert reason({f"f{n}": "x" for n in range(6)}, False) is Refusal.TOO_MANY


def test_a_tree_that_names_billions_of_files_is_refused_quickly(ground: Ground) -> None:
    workspace = ground.workspace()
    entry = f"100644 blob {git(workspace, 'hash-object', '-w', 'a.py')}"
    for _ in range(9):
        rows = "".join(f"{entry}\t{'d' * 20}{n}\n" for n in range(10))
        entry = f"040000 tree {git(workspace, 'mktree', stdin=rows)}"
    bomb = entry.split()[2]
    made = git(workspace, "commit-tree", bomb, "-p", ground.base, "-m", "bomb")
    git(workspace, "update-ref", "refs/heads/task", made)
    assert refused(ground, workspace).reason is Refusal.TOO_MANY
    back = git(workspace, "commit-tree", f"{ground.base}^{{tree}}", "-p", made, "-m", "away")
    git(workspace, "update-ref", "refs/heads/task", back)
    write(workspace, {"x.py": "1"})
    assert ground.take(workspace).commits == 1


def test_special_and_unreadable_files_are_refused(ground: Ground) -> None:
    workspace = ground.workspace()
    (workspace / "a.py").unlink()
    os.mkfifo(workspace / "a.py")
    assert refused(ground, workspace).reason is Refusal.SPECIAL_FILE
    if os.getuid() != 0:
        closed = ground.workspace()
        write(closed, {"closed.py": "1"})
        (closed / "closed.py").chmod(0)
        assert refused(ground, closed).reason is Refusal.UNREADABLE


def test_damaged_objects_are_refused_and_never_reach_the_hub(ground: Ground) -> None:
    workspace = ground.workspace()
    made = commit(workspace, {"x.py": "x = 1\n"})
    other = git(workspace, "hash-object", "-w", "--stdin", stdin="y = 1\n")
    blob = git(workspace, "rev-parse", f"{made}:x.py")
    objects = workspace / ".git/objects"
    target = objects / blob[:2] / blob[2:]
    target.unlink()
    shutil.copy(objects / other[:2] / other[2:], target)
    assert refused(ground, workspace).reason is Refusal.BROKEN_OBJECTS
    target.unlink()
    assert refused(ground, workspace).reason is Refusal.BROKEN_OBJECTS


@pytest.mark.parametrize("head", ["", "ref: refs/heads/../../x", "ref: refs/heads/no", "f" * 40])
def test_a_head_that_leads_nowhere_is_refused(ground: Ground, head: str) -> None:
    workspace = ground.workspace()
    (workspace / ".git/HEAD").write_text(head)
    assert refused(ground, workspace).reason in (Refusal.NOT_A_CLONE, Refusal.BROKEN_OBJECTS)


def test_salvage_keeps_what_it_can_and_never_raises(ground: Ground) -> None:
    workspace = ground.workspace()
    commit(workspace, {"x.py": "x = 1\n"})
    write(workspace, {"y.py": "y = 1\n", "big": "x" * 10_000_001})
    (workspace / "nested").mkdir()
    git(workspace / "nested", "init", "-q")
    kept = ground.hub.salvage(workspace, 5, ground.base)
    assert kept == ground.hub.head("refs/clawd/salvage/5")
    assert {"x.py", "y.py", "a.py"} <= set(ground.hub.files(kept or ""))
    shutil.rmtree(workspace / ".git")
    kept = ground.hub.salvage(workspace, 6, ground.base)
    assert {"x.py", "y.py"} <= set(ground.hub.files(kept or ""))
    assert ground.hub.salvage(workspace, 7) is not None
    assert ground.hub.salvage(ground.folder / "nowhere", 8, ground.base) is None
    assert ground.hub.salvage(ground.workspace(), 9, ground.base) is None
    assert ground.fsck() == ""
