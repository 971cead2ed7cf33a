"""The one way clawd calls git: fixed environment, hardened configuration, deadline, output cap."""

from __future__ import annotations

import atexit
import functools
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clawd.adapters.git.conversation import Conversation, kill_group
from clawd.errors import ClawdError

MEGABYTE = 1_000_000
LONGEST_CALL_S = 110.0  # a lock older than two minutes can then belong to nobody alive
IDENTITY_VARIABLES = frozenset(
    f"GIT_{who}_{what}" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL", "DATE")
)
_OID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
_REF = re.compile(r"refs/(?!.*(?:\.\.|//|@\{|\.lock(?:/|\Z)))[^\x00-\x20\x7f~^:?*\[\\]+(?<![./])\Z")

HARDENED = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.sshCommand=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.untrackedCache=false",
    "core.splitIndex=false",
    "core.protectHFS=true",
    "core.protectNTFS=true",
    "core.autocrlf=false",
    "core.pager=cat",
    "core.editor=false",
    "core.filesRefLockTimeout=2000",
    "core.fsync=committed",  # a landing recorded in the database must survive a power cut here too
    "core.fsyncMethod=batch",
    "credential.helper=",
    "protocol.ext.allow=never",
    "safe.bareRepository=explicit",
    "commit.gpgSign=false",
    "tag.gpgSign=false",
    "log.showSignature=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "fetch.unpackLimit=1",
    "fetch.writeCommitGraph=false",
    "index.sparse=false",
    "user.useConfigOnly=true",
    "color.ui=false",
    "advice.detachedHead=false",
)
DISPOSABLE = ("core.fsync=none",)  # for trees that are made again rather than repaired


class GitError(ClawdError):
    """Git failed or did not answer in time; the message ends with git's own last line."""

    def __init__(self, message: str, remedy: str = "", stderr: str = "") -> None:
        super().__init__(message, remedy)
        self.stderr = stderr


@dataclass(frozen=True, slots=True)
class Output:
    """What one git call left: exit code, bytes, and the text it complained with."""

    rc: int
    out: bytes
    err: str
    cut: bool = False

    @property
    def text(self) -> str:
        return self.out.decode("utf-8", "surrogateescape")

    @property
    def line(self) -> str:
        return self.text.strip()

    @property
    def last_complaint(self) -> str:
        lines = [line.strip() for line in self.err.splitlines() if line.strip()]
        return lines[-1][:500] if lines else "no message"


def is_oid(text: str) -> bool:
    return _OID.match(text) is not None


def oid(text: str) -> str:
    """`text` itself when it is a full object id; nothing else may reach an argument list."""
    if not is_oid(text):
        raise GitError(f"{text[:80]!r} is not a full object id.")
    return text


def ref(text: str) -> str:
    """`text` itself when it is a full, well-formed ref name."""
    if not _REF.match(text):
        raise GitError(f"{text[:200]!r} is not a full ref name.")
    return text


def run(
    argv: Sequence[str],
    *,
    git_dir: Path | None = None,
    work_tree: Path | None = None,
    index: Path | None = None,
    stdin: bytes | None = None,
    env_extra: Mapping[str, str] | None = None,
    timeout_s: float = 60.0,
    limit_bytes: int = 50 * MEGABYTE,
    cut: bool = False,
    ok: Sequence[int] = (0,),
    cwd: Path | None = None,
    config: Sequence[str] = (),
    network: bool = False,
    foreign_owner: bool = False,
) -> Output:
    """Run `git argv` with nothing inherited; raise GitError unless the exit code is in `ok`.

    `cut` returns the first `limit_bytes` of a longer answer instead of failing. `foreign_owner`
    lets git read a repository that belongs to another account (the operator's, from a daemon
    that runs as root). `network` is only for an explicit push off the machine.
    """
    command = [git_binary()]
    for setting in (*HARDENED, *config):
        command += ["-c", setting]
    if git_dir is not None:
        command.append(f"--git-dir={git_dir}")
    if work_tree is not None:
        command.append(f"--work-tree={work_tree}")
    command += argv
    env = _environment(env_extra or {}, index=index, network=network, foreign_owner=foreign_owner)
    output = _call(command, env, cwd or _neutral_folder(), stdin, timeout_s, limit_bytes, cut)
    if output.rc not in ok and not output.cut:
        raise _failure(argv[0], output)
    return output


def run_as_operator(
    argv: Sequence[str], cwd: Path, *, timeout_s: float = 60.0, ok: Sequence[int] = (0,)
) -> Output:
    """Run git in the operator's own repository, with the operator's own configuration.

    Only for what must respect their hooks and filters (a fast-forward of their checkout).
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env |= {"GIT_TERMINAL_PROMPT": "0", "GIT_PAGER": "cat", "GIT_EDITOR": "false"}
    command = [git_binary(), *argv]
    output = _call(command, env, cwd, None, timeout_s, 50 * MEGABYTE, False)
    if output.rc not in ok:
        raise _failure(argv[0], output)
    return output


def _failure(name: str, output: Output) -> GitError:
    said = f"git {name} failed (exit {output.rc}): {output.last_complaint}"
    return GitError(said, stderr=output.err)


@functools.cache
def git_binary() -> str:
    found = shutil.which("git")
    if found is None:
        raise GitError("git is not installed or not on PATH.", "Install git 2.39 or newer.")
    return found


@functools.cache
def _neutral_folder() -> Path:
    """An empty home for git and the folder it starts in; made once per process."""
    folder = Path(tempfile.mkdtemp(prefix="clawd-git-"))
    (folder / "home").mkdir()
    (folder / "any-owner").write_text("[safe]\n\tdirectory = *\n")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _environment(
    extra: Mapping[str, str], *, index: Path | None, network: bool, foreign_owner: bool
) -> dict[str, str]:
    refused = set(extra) - IDENTITY_VARIABLES
    if refused:
        raise GitError(f"Not an identity variable: {', '.join(sorted(refused))}.")
    neutral = _neutral_folder()
    env = {
        "PATH": f"{Path(git_binary()).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(neutral / "home"),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": str(neutral / "any-owner") if foreign_owner else "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "false",
        "GIT_SSH_COMMAND": "ssh -o BatchMode=yes" if network else "false",
        "GIT_ALLOW_PROTOCOL": "file:ssh:https" if network else "file",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_PAGER": "cat",
        "GIT_EDITOR": "false",
        "GIT_ADVICE": "0",
    }
    if index is not None:
        env["GIT_INDEX_FILE"] = str(index)
    return env | dict(extra)


def _call(
    command: list[str],
    env: dict[str, str],
    cwd: Path,
    stdin: bytes | None,
    timeout_s: float,
    limit_bytes: int,
    cut: bool,
) -> Output:
    name = next((word for word in command[1:] if not word.startswith("-") and "=" not in word), "")
    process = subprocess.Popen(
        command,
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with process:
        conversation = Conversation(process, stdin or b"", limit_bytes)
        try:
            ending = conversation.hold(time.monotonic() + min(timeout_s, LONGEST_CALL_S))
        except BaseException:
            kill_group(process)
            raise
        if ending != "closed":
            kill_group(process)
    err = bytes(conversation.err).decode("utf-8", "replace")
    if ending == "late":
        raise GitError(
            f"git {name} did not finish within {timeout_s:g} s and was stopped.",
            "Look at the machine's load and disk; the call is tried again by itself.",
        )
    if ending == "long" and not cut:
        raise GitError(f"git {name} answered with more than {limit_bytes:,} bytes.")
    return Output(process.returncode, bytes(conversation.out), err, cut=ending == "long")
