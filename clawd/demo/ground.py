"""Lays the demo's ground: a new home, the sample as a repository, the agent as one program."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from clawd import share
from clawd.adapters import cage
from clawd.adapters.git.command import run
from clawd.adapters.git.message import Identity
from clawd.config import FILE_NAME
from clawd.errors import ClawdError, UsageError

SLUG = "pocket"
BRANCH = "main"
TEST_COMMAND = "python3 -m unittest -q"
OPERATOR = Identity("Demo Operator", "operator@demo.invalid")


@dataclass(frozen=True, slots=True)
class Ground:
    """A home with everything the demo needs, before anything runs."""

    home: Path
    caged: bool
    why_uncaged: str

    @property
    def project(self) -> Path:
        return self.home / "project"

    @property
    def agent(self) -> Path:
        """In a folder of its own: the cage shows an agent the folder its program lies in."""
        return self.home / "agent" / "claude"


def lay(home: Path | None, pace: float) -> Ground:
    """A new home under `home`, else where this user keeps demos; earlier ones are left alone."""
    probed = cage.probe()
    ground = Ground(_new_home(home), probed.ok, probed.reason)
    try:
        _copy_sample(ground.project)
        pack_agent(ground.agent, pace)
        text = yaml.safe_dump(settings(ground), sort_keys=False, allow_unicode=True)
        (ground.home / FILE_NAME).write_text(text, "utf-8")
    except OSError as error:
        raise ClawdError(
            f"The demo cannot write to {ground.home}: {error.strerror or error}.",
            "Free some space, or name another folder: clawd demo --home PATH",
        ) from error
    return ground


def settings(ground: Ground) -> dict[str, Any]:
    """The demo's clawd.yaml: the product's own words, and agents that are a script."""
    return {
        "login": "none",
        "claude": {"path": str(ground.agent), "minimum": "0.0.0"},
        "sandbox": "auto" if ground.caged else "none",
        "landing": "follow",
        "agents": {"dev": {"count": 4}, "qa": {"count": 2}, "planner": {"count": 2}},
        "limits": {"max_live": 6},
        "budget": {"day_usd": 50},
        "projects": {
            SLUG: {"path": str(ground.project), "test": TEST_COMMAND, "max_agents": 4},
        },
    }


def pack_agent(target: Path, pace: float) -> None:
    """The scripted agent as one executable file."""
    packer = share.path("scripts/demo/agent")
    done = subprocess.run(
        [sys.executable, str(packer), "--pack", str(target), str(pace)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise ClawdError(f"The scripted agent could not be packed: {said[0][:300]}")


def _copy_sample(project: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(share.path("scripts/demo/project"), project, ignore=ignore)
    run(["init", "--quiet", "--template=", f"--initial-branch={BRANCH}", str(project)])
    commit_all(project, "The sample as it is")


def commit_all(project: Path, message: str) -> None:
    """Everything in the sample's working copy as one commit of the operator."""
    where = {"git_dir": project / ".git", "work_tree": project}
    run(["add", "--all"], **where)  # type: ignore[arg-type]
    who = OPERATOR.variables(datetime.now(UTC))
    run(["commit", "--quiet", "-m", message], env_extra=who, **where)  # type: ignore[arg-type]


def _new_home(named: Path | None) -> Path:
    if named is None:
        return _stamped_home()
    try:
        named.mkdir(mode=0o700, parents=True, exist_ok=True)
        empty = not any(named.iterdir())
    except OSError as error:
        raise UsageError(f"The demo cannot use {named}: {error.strerror}.") from error
    if not empty:
        raise UsageError(
            f"{named} has something in it, and a demo starts from nothing.",
            "Name a new folder, or leave --home out.",
        )
    return named.resolve()


def _stamped_home() -> Path:
    """`~/.clawd-demo/<month day>-<time>`; a home that cannot be written gets a temporary one."""
    asked = os.environ.get("CLAWD_DEMO_HOME")
    root = Path(asked or "~/.clawd-demo").expanduser()
    stamp = datetime.now().strftime("%m%d-%H%M%S")
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number in range(1, 100):
            home = root / (stamp if number == 1 else f"{stamp}-{number}")
            try:
                home.mkdir(mode=0o700)
            except FileExistsError:
                continue
            return home.resolve()
    except (OSError, RuntimeError) as error:
        if asked:
            raise UsageError(f"CLAWD_DEMO_HOME is {root}: {error}.") from error
    return Path(tempfile.mkdtemp(prefix="clawd-demo-")).resolve()
