"""A daemon by hand for the scripted agent: a hub, clones for runs, merges, tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clawd import share

DEMO = share.path("scripts/demo")
FLAGS = [
    *["-p", "--output-format", "stream-json", "--verbose", "--setting-sources", ""],
    *["--strict-mcp-config", "--permission-mode", "dontAsk", "--model", "sonnet"],
    *["--tools", "Bash,Read,Edit,Write,Glob,Grep", "--allowedTools", "Bash", "Read", "Edit"],
]
SCHEMA = ["--json-schema", '{"type": "object"}']
ALL_GREEN = "python3 -m unittest -q"

Json = dict[str, Any]


@dataclass
class Ran:
    """How one run of the agent ended."""

    code: int
    lines: list[bytes]
    stderr: str

    @property
    def events(self) -> list[Json]:
        found = []
        for line in self.lines:
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict):
                found.append(value)
        return found

    @property
    def result(self) -> Json:
        last = self.events[-1]
        assert last["type"] == "result"
        return last

    @property
    def answer(self) -> Json:
        return self.result["structured_output"]


def pack_agent(folder: Path, pace: str = "0") -> Path:
    """The agent as one file, without pauses."""
    target = folder / "claude"
    subprocess.run([sys.executable, DEMO / "agent", "--pack", target, pace], check=True)
    return target


@dataclass
class Bench:
    """A daemon by hand: a repository, clones for runs, merges and tests."""

    root: Path
    claude: Path

    @property
    def hub(self) -> Path:
        return self.root / "hub"

    def start(self) -> None:
        shutil.copytree(DEMO / "project", self.hub)
        git(self.hub, "init", "-q", "-b", "main")
        self.commit_all(self.hub)

    def commit_all(self, work: Path) -> None:
        git(work, "add", "-A", "--", ".", ":(exclude).clawd")
        git(work, "commit", "-q", "-m", "start")

    def clone(self, commit: str = "main") -> Path:
        work = self.root / f"work-{uuid.uuid4().hex[:8]}"
        git(self.root, "clone", "-q", str(self.hub), str(work))
        git(work, "checkout", "-q", "-b", "task", commit)
        (work / ".git/info/exclude").write_text(".clawd/\n")
        return work

    def run(self, work: Path, prompt: str, *flags: str, timeout_s: float = 30) -> Ran:
        done = subprocess.run(
            [self.claude, *FLAGS, *flags],
            cwd=work,
            env=environment(self.root),
            input=prompt.encode(),
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
        lines = done.stdout.split(b"\n")
        assert lines[-1] == b"" or done.returncode != 0 or b"succ" in lines[-1]
        return Ran(done.returncode, lines[:-1], done.stderr.decode())

    def dev(self, work: Path, task: Json, **snapshot: Any) -> Ran:
        write_files(work, {"role": "dev", **task}, snapshot)
        return self.run(work, "Role: dev\n\nDo the task in .clawd/current-task.json.\n")

    def qa(self, work: Path, task: Json, base: str, **snapshot: Any) -> Json:
        facts = {"base": base, "check": [{"id": "A1", "rc": 0}]}
        write_files(work, {"role": "qa", **task}, {"facts": facts, **snapshot})
        return self.run(work, "Role: qa\n\nReview it.\n", *SCHEMA).answer

    def publish(self, work: Path, name: str) -> str:
        """The clone's commit as a branch of the hub."""
        git(self.hub, "fetch", "-q", str(work), f"HEAD:refs/heads/{name}")
        return head(work)

    def land(self, commit: str) -> bool:
        """Merges onto main when it merges cleanly and the whole tests are green."""
        before = head(self.hub)
        merged = try_git(self.hub, "merge", "-q", "--no-ff", "-m", "land", commit)
        if merged == 0 and is_green(self.hub):
            return True
        try_git(self.hub, "merge", "--abort")
        git(self.hub, "reset", "-q", "--hard", before)
        return False

    def sent_back(self, commit: str) -> Path:
        """A clone of main with the candidate merged into it, the merge left open."""
        work = self.clone()
        try_git(work, "merge", "-q", "--no-commit", "--no-ff", commit)
        return work


def environment(root: Path) -> dict[str, str]:
    home = root / "home"
    home.mkdir(exist_ok=True)
    who = {
        f"GIT_{role}_{key}": value
        for role in ("AUTHOR", "COMMITTER")
        for key, value in (("NAME", "t"), ("EMAIL", "t@example.invalid"))
    }
    quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    return {"PATH": os.environ["PATH"], "HOME": str(home), **who, **quiet}


def try_git(work: Path, *words: str) -> int:
    return subprocess.run(
        ["git", *words], cwd=work, env=environment(work.parent), capture_output=True, check=False
    ).returncode


def git(work: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", *words],
        cwd=work,
        env=environment(work.parent),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def head(work: Path) -> str:
    return git(work, "rev-parse", "HEAD")


def is_green(work: Path, command: str = ALL_GREEN) -> bool:
    env = {**environment(work.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=work, env=env, capture_output=True, check=False
    )
    return done.returncode == 0


def write_files(work: Path, task: Json, snapshot: Json) -> None:
    folder = work / ".clawd"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "current-task.json").write_text(json.dumps(task))
    (folder / "context-snapshot.json").write_text(json.dumps(snapshot))


def outbox(work: Path) -> Json:
    return json.loads((work / ".clawd/outbox.json").read_text())


def make_bench(folder: Path, claude: Path) -> Bench:
    """A bench with the sample on main."""
    made = Bench(folder, claude)
    made.start()
    return made


def goal_prompt(title: str, body: str = "") -> str:
    return f"Role: planner\n\n# Goal 3: {title}\n\n{body}\n\nCut this goal into tasks.\n"


GOALS = (
    "Find items by their tags",
    "Search the words of titles and notes",
    "Keep long titles readable",
    "See what is unread and what was read",
    "Share the list with a friend",
)
