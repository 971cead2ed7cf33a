"""The programs agents need: `claude`, the cage, and what tests find inside it."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

from clawd.adapters import cage, claude
from clawd.adapters.cage import CageSpec, Network
from clawd.adapters.claude import Binary
from clawd.config import Config, Sandbox
from clawd.errors import ClawdError
from clawd.policy.detect import PROGRAMS, PYTEST
from clawd.running import launch
from clawd.running.records import Launch, Limits
from clawd.setup.checklist import Checklist

_LOOK_WALL_S = 30.0


def check_claude(out: Checklist, config: Config) -> Binary | None:
    """The program that agents are; its version must be new enough."""
    try:
        binary = claude.find_binary(config.claude.path or None, os.environ, config.claude.minimum)
    except ClawdError as error:
        out.miss("claude", error.message, error.remedy)
        return None
    out.tick("claude", describe(binary))
    return binary


def describe(binary: Binary) -> str:
    """Version and place, and whether this very version was tested."""
    tested = "tested" if binary.tested else f"not one of the tested {', '.join(claude.TESTED)}"
    return f"{binary.version} at {binary.path} ({tested})"


def check_cage(out: Checklist, config: Config) -> bool:
    """Whether commands of a project may run: in a cage, or because the operator said without."""
    if config.sandbox is Sandbox.NONE:
        out.warn("cage", "none, as `sandbox: none` in clawd.yaml says")
        return True
    probe = cage.probe(Network.NONE)
    if probe.ok:
        out.tick("cage", "agents see their workspace, not your home")
        return True
    out.miss("cage", probe.reason, probe.remedy)
    return False


def installed(home: Path, config: Config) -> frozenset[str]:
    """Those of the detector's programs that a command can use where a project's tests run."""
    folder = home / "runs" / f"init-look-{os.getpid()}"
    work = folder / "work"
    work.mkdir(mode=0o700, parents=True)
    (folder / "home").mkdir(mode=0o700)
    caged = config.sandbox is not Sandbox.NONE
    names = " ".join(PROGRAMS)
    command = (
        f"for p in {names}; do command -v $p >/dev/null 2>&1 && echo $p; done; "
        f"python3 -c 'import pytest' 2>/dev/null && echo {PYTEST}; true"
    )
    try:
        done = launch.run_command(
            command,
            Launch(
                folder=folder / "run",
                marker=folder.name,
                argv=[],
                env={} if caged else {"HOME": str(folder / "home")},
                cwd=work,
                cage=CageSpec(workspace=work, home=folder / "home") if caged else None,
                limits=Limits(wall_s=_LOOK_WALL_S),
            ),
            threading.Event(),
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return frozenset(done.output.split()) & {*PROGRAMS, PYTEST}
