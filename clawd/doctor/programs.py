"""The programs clawd calls: git, the cage, `claude`, and how agents log in."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from clawd import daemon
from clawd.adapters import cage, claude
from clawd.adapters.credential import API_KEY, OAUTH, read_credential
from clawd.adapters.git.command import run
from clawd.config import Config, Login, Sandbox
from clawd.doctor.finding import Finding
from clawd.errors import ClawdError
from clawd.setup import login as logins
from clawd.setup import probe as probes
from clawd.setup.choices import Choices
from clawd.setup.tools import describe

OLDEST_GIT = (2, 39)
_TOKEN_START, _KEY_START = "sk-ant-oat", "sk-ant-api"


def git() -> Iterator[Finding]:
    """Merges in memory need a git that can do them."""
    said = run(["version"]).line
    found = re.search(r"(\d+)\.(\d+)", said)
    if found and (int(found[1]), int(found[2])) >= OLDEST_GIT:
        yield Finding("git", True, said)
    else:
        yield Finding("git", False, said, "Install git 2.39 or newer.")


def cage_works(config: Config) -> Iterator[Finding]:
    """Whether an agent could be locked in right now."""
    if config.sandbox is Sandbox.NONE:
        detail = "none (`sandbox: none`): agents can read and change whatever you can"
        yield Finding("cage", None, detail, "Remove `sandbox: none` from clawd.yaml.")
        return
    tried = cage.probe()
    yield Finding("cage", tried.ok, "it holds" if tried.ok else tried.reason, tried.remedy)


def claude_found(config: Config) -> Iterator[Finding]:
    """The program agents are, its version and its fingerprint."""
    binary = claude.find_binary(config.claude.path or None, os.environ, config.claude.minimum)
    detail = f"{describe(binary)}, sha256 {binary.sha256[:12]}"
    if binary.tested or config.login is Login.NONE:
        yield Finding("claude", True, detail)
    else:
        newest = claude.TESTED[-1]
        yield Finding("claude", None, detail, f"It should work; {newest} is known to.")


def login(home: Path, config: Config, *, probe: bool) -> Iterator[Finding]:
    """The credential's file and shape; with `probe`, whether the model answers."""
    try:
        logins.refuse_over_ssh(home, Choices(), os.environ, sys.platform)
    except ClawdError as error:
        yield Finding("login", False, error.message, error.remedy)
        return
    if config.login is Login.NONE:
        yield Finding("login", True, "none: agents get no credential (`login: none`)")
        return
    if config.login is Login.INHERIT:
        yield _inherited()
    else:
        yield _token(home)
    if probe:
        yield _probed(home, config)


def _inherited() -> Finding:
    theirs = Path.home() / ".claude" / ".credentials.json"
    if sys.platform != "darwin" and not theirs.exists():
        remedy = "Log in with `claude`, or set `login: token` and run `clawd init`."
        return Finding("login", False, f"`login: inherit`, and {theirs} is not there", remedy)
    detail = "your own, which agents can read (`login: inherit`)"
    return Finding("login", None, detail, "Set `login: token` and run `clawd init` again.")


def _token(home: Path) -> Finding:
    known = read_credential(home / logins.FILE_NAME)
    start = known.file.read_text("utf-8", "replace").partition(f"{known.key}=")[2][:10]
    wrong = {OAUTH: _KEY_START, API_KEY: _TOKEN_START}[known.key]
    if start == wrong:
        other = API_KEY if known.key == OAUTH else OAUTH
        detail = f"{known.file} names its secret {known.key}, but it looks like a {other}"
        return Finding("login", False, detail, f"Write {other}= in front of it.")
    return Finding("login", True, f"{known.key} in {known.file}, closed to others")


def _probed(home: Path, config: Config) -> Finding:
    """Through the real cage, as a run would; needs the home's database, as a run does."""
    binary = claude.find_binary(config.claude.path or None, os.environ, config.claude.minimum)
    with daemon.open_desk(home) as desk:
        tried = probes.login(desk, binary, os.environ)
    return Finding("login probe", tried.ok, tried.detail, tried.remedy)
