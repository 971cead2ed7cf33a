"""Whatever an agent plants in its workspace, the daemon's git runs none of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from clawd.adapters.git import merge, tree
from clawd.adapters.git.refusal import CandidateRefused
from tests.parts.git_ground import Ground, commit, git, make_ground, write

HOOKS = """applypatch-msg pre-applypatch post-applypatch pre-commit prepare-commit-msg commit-msg
post-commit pre-merge-commit post-merge pre-rebase post-checkout post-rewrite pre-push pre-receive
update post-receive post-update reference-transaction push-to-checkout pre-auto-gc
post-index-change fsmonitor-watchman sendemail-validate proc-receive"""


class Trap:
    """A workspace, a command that leaves a mark when anybody runs it, and the mark."""

    def __init__(self, ground: Ground) -> None:
        self.ground, self.workspace = ground, ground.workspace()
        self.git = self.workspace / ".git"
        self.mark = ground.folder / "executed"
        self.command = ground.folder / "trap.sh"
        self.command.write_text(f"#!/bin/sh\necho \"$0 $*\" >> '{self.mark}'\ncat 2>/dev/null\n")
        self.command.chmod(0o755)

    def config(self, *lines: str, name: str = "config") -> None:
        with (self.git / name).open("a") as file:
            file.write(
                "\n".join(line.replace("TRAP", f"'{self.command}'") for line in lines) + "\n"
            )


def plant_hooks(trap: Trap) -> None:
    for folder in (trap.git / "hooks", trap.workspace / "own-hooks"):
        folder.mkdir(exist_ok=True)
        for name in HOOKS.split():
            (folder / name).symlink_to(trap.command)
    trap.config("[core]", "hooksPath = own-hooks")


def plant_monitor_and_commands(trap: Trap) -> None:
    trap.config(
        '[core]', 'fsmonitor = "TRAP"', 'sshCommand = "TRAP"', 'pager = "TRAP"', 'editor = "TRAP"',
        'gitProxy = "TRAP"', 'alternateRefsCommand = "TRAP"', 'askPass = "TRAP"',
        '[diff]', 'external = "TRAP"',
        '[commit]', 'gpgSign = true', '[gpg]', 'program = "TRAP"',
        '[uploadpack]', 'packObjectsHook = "TRAP"', '[credential]', 'helper = "!TRAP"',
        '[trailer "x"]', 'command = "TRAP"', '[sequence]', 'editor = "TRAP"',
        '[alias]', 'fetch = "!TRAP"', 'add = "!TRAP"',
    )  # fmt: skip


def plant_filters(trap: Trap) -> None:
    trap.config(
        '[filter "evil"]', 'clean = "TRAP"', 'smudge = "TRAP"', 'process = "TRAP"',
        'required = true',
        '[diff "evil"]', 'command = "TRAP"', 'textconv = "TRAP"',
        '[merge "evil"]', 'driver = "TRAP %O %A %B"', '[merge]', 'default = evil',
    )  # fmt: skip
    for place in (".gitattributes", ".git/info/attributes"):
        (trap.workspace / place).write_text("* filter=evil diff=evil merge=evil\n")


def plant_includes(trap: Trap) -> None:
    evil = trap.ground.folder / "evil.config"
    evil.write_text(f"[core]\n\tfsmonitor = '{trap.command}'\n\tsshCommand = '{trap.command}'\n")
    trap.config("[include]", f'path = "{evil}"', '[includeIf "gitdir:/"]', f'path = "{evil}"')
    trap.config("[extensions]", "worktreeConfig = true")
    trap.config("[core]", 'fsmonitor = "TRAP"', name="config.worktree")


def plant_remotes(trap: Trap) -> None:
    trap.config(
        '[remote "origin"]', f"url = {trap.ground.hub.path}", 'uploadpack = "TRAP"',
        'receivepack = "TRAP"', 'promisor = true', 'partialclonefilter = blob:none',
        '[protocol "ext"]', "allow = always", f'[url "ext::{trap.command} "]', "insteadOf = /",
        "[extensions]", "partialClone = origin",
    )  # fmt: skip


def plant_nested_repository(trap: Trap) -> None:
    nested = trap.workspace / "nested"
    nested.mkdir()
    git(nested, "init", "-q")
    commit(nested, {"n": "1"})
    (nested / ".git/config").write_text(f"[core]\n\tfsmonitor = '{trap.command}'\n")
    git(trap.workspace, "update-index", "--add", "--cacheinfo",
        f"160000,{git(nested, 'rev-parse', 'HEAD')},nested")  # fmt: skip


def plant_bare_repository(trap: Trap) -> None:
    bare = trap.workspace / "docs"
    for name in ("objects", "refs"):
        (bare / name).mkdir()
    (bare / "HEAD").write_text("ref: refs/heads/main\n")
    (bare / "config").write_text(
        f"[core]\n\tbare = false\n\tworktree = ..\n\tfsmonitor = '{trap.command}'\n"
    )


def plant_submodule(trap: Trap) -> None:
    write(trap.workspace, {".gitmodules": (
        '[submodule "x"]\n\tpath = x\n\turl = ext::' + str(trap.command)
        + f"\n\tupdate = !{trap.command}\n"
    )})  # fmt: skip
    trap.config('[submodule "x"]', 'update = "!TRAP"', "[submodule]", "recurse = true")


PLANTS: list[Callable[[Trap], None]] = [
    plant_nested_repository,
    plant_hooks,
    plant_monitor_and_commands,
    plant_filters,
    plant_includes,
    plant_remotes,
    plant_bare_repository,
    plant_submodule,
]


def handle(trap: Trap) -> None:
    """Everything the daemon ever does with a finished run."""
    trap.mark.unlink(missing_ok=True)  # the planting itself may have sprung it
    ground = trap.ground
    try:
        made = ground.take(trap.workspace)
    except CandidateRefused:
        kept = ground.hub.salvage(trap.workspace, ground.runs, ground.base)
        assert kept is not None
        work = kept
    else:
        work = made.oid
    merge.merge(ground.hub, ground.base, work)
    merge.changed(ground.hub, ground.base, work)
    merge.patch_text(ground.hub, ground.base, work)
    merge.patch_digest(ground.hub, ground.base, work)
    tree.export(ground.hub, work, ground.folder / f"check {ground.runs}")
    tree.merge_markers(ground.hub, ground.base, work, ground.folder / f"again {ground.runs}")
    ground.hub.clone_to(ground.folder / f"test {ground.runs}", work)
    assert merge.swap(ground.hub, "refs/heads/main", work, ground.base)
    ground.hub.tidy()
    assert ground.fsck() == ""
    tree.remove(trap.workspace)


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
@pytest.mark.parametrize("committed", [True, False], ids=["committed", "loose"])
def test_a_planted_command_is_never_run(
    tmp_path: Path, plant: Callable[[Trap], None], committed: bool
) -> None:
    trap = Trap(make_ground(tmp_path))
    if committed:
        commit(trap.workspace, {"x.py": "x = 1\n"})
    write(trap.workspace, {"a.py": "changed\n", "new.txt": "new\n"})
    plant(trap)
    handle(trap)
    assert not trap.mark.exists(), trap.mark.read_text()


def test_everything_planted_at_once_runs_nothing(tmp_path: Path) -> None:
    trap = Trap(make_ground(tmp_path))
    commit(trap.workspace, {"x.py": "x = 1\n"})
    for plant in PLANTS:
        plant(trap)
    handle(trap)
    assert not trap.mark.exists(), trap.mark.read_text()


def test_the_trap_works_when_git_is_called_carelessly(tmp_path: Path) -> None:
    trap = Trap(make_ground(tmp_path))
    plant_monitor_and_commands(trap)
    git(trap.workspace, "status")
    assert trap.mark.exists()


def secret_repository(folder: Path) -> tuple[Path, str]:
    secret = folder / "operator's other repository"
    secret.mkdir()
    git(secret, "init", "-q", "-b", "main")
    return secret, commit(secret, {"secret.txt": "hunter2"})


def test_objects_of_other_repositories_cannot_be_pulled_in(tmp_path: Path) -> None:
    ground = make_ground(tmp_path)
    secret, stolen = secret_repository(tmp_path)
    for way in (
        "alternates",
        "http-alternates",
        "objects link",
        "commondir",
        "git file",
        "git link",
    ):
        trap_git = (workspace := ground.workspace()) / ".git"
        if way.endswith("alternates"):
            (trap_git / "objects/info").mkdir(exist_ok=True)
            (trap_git / "objects/info" / way).write_text(f"{secret}/.git/objects\n")
        elif way == "commondir":
            (trap_git / "commondir").write_text(f"{secret}/.git\n")
        else:
            moved = trap_git / "objects" if way == "objects link" else trap_git
            moved.rename(ground.folder / f"moved {way}")
            if way == "git file":
                trap_git.write_text(f"gitdir: {secret}/.git\n")
            else:
                moved.symlink_to(secret / ".git" / ("objects" if way == "objects link" else ""))
        if way in ("alternates", "http-alternates", "objects link", "commondir"):
            (trap_git / "refs/heads").mkdir(parents=True, exist_ok=True)
            (trap_git / "refs/heads/task").write_text(f"{stolen}\n")
        with pytest.raises(CandidateRefused):
            ground.take(workspace)
        ground.hub.salvage(workspace, ground.runs, ground.base)
        assert ground.hub.git(["cat-file", "-e", stolen], ok=(0, 1, 128)).rc != 0, way


def test_replace_refs_and_grafts_do_not_change_what_is_taken(tmp_path: Path) -> None:
    ground = make_ground(tmp_path)
    workspace = ground.workspace()
    honest = commit(workspace, {"x.py": "honest\n"})
    git(workspace, "checkout", "-q", "--detach", ground.base)
    other = commit(workspace, {"x.py": "other\n"})
    git(workspace, "checkout", "-q", "task")
    git(workspace, "replace", honest, other)
    git(workspace, "reset", "-q", "--hard", honest)
    write(workspace, {"x.py": "honest\n"})
    (workspace / ".git/info/grafts").write_text(f"{honest}\n")
    made = ground.take(workspace)
    assert ground.hub.read(made.oid, "x.py") == b"honest\n"
    assert ground.hub.parents(made.oid) == [ground.base]


def test_writing_into_every_file_of_a_workspace_leaves_the_hub_sound(tmp_path: Path) -> None:
    ground = make_ground(tmp_path)
    workspace = ground.workspace()
    commit(workspace, {"x.py": "x = 1\n"})
    before = ground.hub.git(["cat-file", "--batch-all-objects", "--batch-check"]).out
    for at, _, files in os.walk(workspace):
        for name in files:
            path = Path(at) / name
            path.chmod(0o644)
            with path.open("r+b") as file:
                file.write(b"garbage")
    assert ground.fsck() == ""
    assert ground.hub.git(["cat-file", "--batch-all-objects", "--batch-check"]).out == before
    with pytest.raises(CandidateRefused):
        ground.take(workspace)
    assert ground.hub.salvage(workspace, 1, ground.base) is not None
    assert ground.fsck() == ""
    fresh = ground.workspace()
    assert git(fresh, "status", "--porcelain") == ""
    assert git(fresh, "fsck", "--strict", "--no-dangling") == ""
