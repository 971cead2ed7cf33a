"""Nothing inherited reaches git, and no call of git outlives its deadline or its memory."""

from __future__ import annotations

import gc
import os
import threading
import time
from pathlib import Path

import psutil
import pytest

from clawd.adapters.git.command import GitError, Output, oid, ref, run
from tests.parts.git_ground import git, make_ground


def shell(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def as_alias(command: str, **options: object) -> Output:
    """Run a shell command as git's child, to see what git's children see."""
    return run(["peek"], config=[f"alias.peek=!{command}"], **options)  # type: ignore[arg-type]


def test_no_variable_of_the_daemon_reaches_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = make_ground(tmp_path / "victim")
    planted = {
        "GIT_DIR": str(victim.operator / ".git"),
        "GIT_WORK_TREE": str(victim.operator),
        "GIT_INDEX_FILE": str(tmp_path / "index"),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "alias.canary",
        "GIT_CONFIG_VALUE_0": "!touch canary",
        "GIT_CONFIG_PARAMETERS": "'alias.canary'='!touch canary'",
        "GIT_TRACE": "2",
        "GIT_EXTERNAL_DIFF": "touch canary",
        "CANARY_SECRET": "must not travel",
        "LD_PRELOAD_CANARY": "x",
    }
    for name, value in planted.items():
        monkeypatch.setenv(name, value)
    seen = as_alias("env").text
    assert "CANARY" not in seen
    assert "touch canary" not in seen
    assert str(victim.operator) not in seen
    with pytest.raises(GitError):
        run(["canary"])
    other = make_ground(tmp_path / "other", {"other": "1"})
    assert other.hub.head("refs/heads/main") == other.base
    assert other.base != victim.base


def test_git_starts_in_an_empty_home_and_folder() -> None:
    assert as_alias("ls -A $HOME").line == ""
    assert "GIT_CONFIG_GLOBAL=/dev/null" in as_alias("env").text


def test_only_an_identity_can_be_added_to_the_environment() -> None:
    with pytest.raises(GitError, match="GIT_DIR"):
        run(["version"], env_extra={"GIT_DIR": "/"})


def test_a_deadline_ends_git_and_everything_it_started(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    began = time.monotonic()
    with pytest.raises(GitError, match="did not finish within"):
        as_alias(f"sleep 600 & echo $! > '{pid_file}'; sleep 600", timeout_s=0.7)
    assert time.monotonic() - began < 5
    deadline = time.monotonic() + 5
    grandchild = int(pid_file.read_text())
    while psutil.pid_exists(grandchild) and time.monotonic() < deadline:
        if psutil.Process(grandchild).status() == psutil.STATUS_ZOMBIE:
            break
        threading.Event().wait(0.02)
    else:
        assert not psutil.pid_exists(grandchild)


def test_an_endless_answer_is_an_error_or_is_cut_where_asked() -> None:
    with pytest.raises(GitError, match="more than 1,000 bytes"):
        as_alias("yes", limit_bytes=1000, timeout_s=20)
    output = as_alias("yes", limit_bytes=1000, timeout_s=20, cut=True)
    assert output.cut
    assert len(output.out) == 1000


def test_a_large_input_and_a_large_output_do_not_block_each_other(tmp_path: Path) -> None:
    blob = os.urandom(3_000_000)
    ground = make_ground(tmp_path)
    name = ground.hub.git(["hash-object", "-w", "--stdin"], stdin=blob).line
    stdin = f"{name}\n".encode() * 4
    assert len(ground.hub.git(["cat-file", "--batch"], stdin=stdin).out) > 12_000_000


def test_a_failure_ends_with_what_git_said_last(tmp_path: Path) -> None:
    with pytest.raises(GitError, match="not a git repository"):
        run(["rev-parse", "HEAD"], git_dir=tmp_path / "nothing")


def test_a_missing_repository_is_an_error_and_not_a_missing_ref(tmp_path: Path) -> None:
    ground = make_ground(tmp_path)
    assert ground.hub.head("refs/heads/nothing") is None
    ground.hub.path.rename(tmp_path / "moved")
    with pytest.raises(GitError):
        ground.hub.head("refs/heads/main")


@pytest.mark.parametrize("text", ["", "HEAD", "--help", "a" * 39, "A" * 40, "a" * 40 + "\n"])
def test_only_a_full_object_id_passes_for_one(text: str) -> None:
    with pytest.raises(GitError):
        oid(text)


@pytest.mark.parametrize(
    "text",
    ["main", "-d", "refs/heads/a..b", "refs/heads/a b", "refs/heads/a\n", "refs/heads/x.lock",
     "refs/heads/a~1", "refs/heads/", "refs/heads/@{u}", "refs/heads//a", "refs/heads/x."],
)  # fmt: skip
def test_only_a_full_ref_name_passes_for_one(text: str) -> None:
    with pytest.raises(GitError):
        ref(text)


def test_ref_names_people_use_pass() -> None:
    for name in ("refs/heads/main", "refs/heads/feature/ünï-1.2_x", "refs/heads/-odd"):
        assert ref(name) == name


def test_five_hundred_calls_leave_no_descriptor_and_no_child(tmp_path: Path) -> None:
    ground = make_ground(tmp_path)
    from clawd.adapters.git import operator

    operator.inspect(ground.operator)
    gc.collect()
    me = psutil.Process()
    before = me.num_fds()
    for turn in range(100):
        ground.hub.head("refs/heads/main")
        ground.hub.git(["cat-file", "--batch"], stdin=f"{ground.base}\n".encode())
        with pytest.raises(GitError):
            ground.hub.git(["cat-file", "-e", "nothing"])
        ground.hub.git(["log", "--all"], limit_bytes=10, cut=True)
        if turn % 5 == 0:
            operator.inspect(ground.operator)
    assert me.num_fds() <= before
    assert [child for child in me.children(recursive=True) if "git" in child.name()] == []


def test_the_operators_repository_may_belong_to_another_account(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give files away")
    ground = make_ground(tmp_path)
    for at, folders, files in os.walk(ground.operator):
        for name in (*folders, *files):
            os.lchown(os.path.join(at, name), 65534, 65534)
    os.chown(ground.operator, 65534, 65534)
    assert ground.hub.sync_from(ground.operator, "main") == ground.base
    assert git(ground.hub.path, "rev-parse", "refs/operator/main") == ground.base
