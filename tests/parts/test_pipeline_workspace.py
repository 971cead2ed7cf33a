"""What an agent does to its workspace stays there; what is worth keeping comes out of it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clawd.adapters import cage
from clawd.pipeline import workspace
from tests.whole.line import DEV, FILES, Line, open_line

# Speaks as much of the protocol as an ended run needs; overwrites every file it can reach.
VANDAL = """#!/usr/bin/env python3
import json, os, sys
from pathlib import Path

if "--version" in sys.argv:
    print("0.0.0 (vandal)")
    sys.exit()
session = "00000000-0000-4000-8000-000000000000"
print(json.dumps({"type": "system", "subtype": "init", "session_id": session, "tools": [],
                  "model": "m", "cwd": os.getcwd()}), flush=True)
spoilt = 0
for path in Path(".").rglob("*"):
    if path.is_file() and not path.is_symlink():
        path.chmod(0o600)
        with path.open("r+b") as file:
            file.write(b"spoilt by an agent")
        spoilt += 1
Path(os.environ["HOME"], "spoilt").write_text(str(spoilt))
print(json.dumps({"type": "result", "subtype": "success", "is_error": False, "result": "done",
                  "session_id": session, "num_turns": 1, "total_cost_usd": 0, "usage": {},
                  "modelUsage": {}, "permission_denials": []}), flush=True)
"""


@pytest.fixture
def line(home: Path, database: str, make_repo: Callable[..., Path]) -> Iterator[Line]:
    with open_line(home, database, {"sample": make_repo(FILES)}) as opened:
        yield opened


@pytest.mark.skipif(not cage.available(), reason="there is no cage on this machine")
def test_an_agent_that_overwrites_every_file_of_its_workspace_leaves_the_hub_whole(
    home: Path, database: str, make_repo: Callable[..., Path]
) -> None:
    agent = home / "vandal"
    agent.write_text(VANDAL)
    agent.chmod(0o755)
    repo = make_repo({**FILES, **{f"many/{n}.txt": f"{n}\n" for n in range(40)}})
    changes = {"sandbox": "auto", "claude.path": str(agent)}
    with open_line(home, database, {"sample": repo}, changes) as line:
        task = line.add("Spoil")
        before = line.main()
        line.desk.warm(line.project()).refill(before)
        line.dev()
        line.ended()
        line.settle()
        spoilt = int((line.desk.task_home(task) / "dev" / "spoilt").read_text())
        assert spoilt > 50, "its files and those of its own .git"
        line.hub_git("fsck", "--full", "--strict")
        assert line.main() == before
        assert line.file("many/7.txt") == "7\n"
        (run,) = line.runs(task)
        assert run.reason in ("candidate_refused", "no_candidate")
        assert line.task(task).state == "backlog"
        for clone in line.desk.warm(line.project()).ready():
            subprocess.run(["git", "-C", str(clone), "fsck", "--full"], check=True, timeout=60)


def test_half_done_work_goes_on_where_it_stood(line: Line) -> None:
    task = line.add("Half", "[behave: touch notes/half.md] [behave: ask]")
    # The scripted agent asks before it works, so the work is laid into its workspace by hand.
    line.dev()
    line.ended()
    run = line.runs(task)[0]
    (workspace.workspace_path(line.desk, run) / "notes" / "half.md").write_text("so far\n")
    line.settle()
    assert line.task(task).state == "waiting"
    line.commit({"notes/today.md": "today\n"})
    line.merge()
    line.answer("one")
    line.dev()
    second = line.runs(task)[1]
    assert second.base_oid == line.main(), "an answer after a while starts on today's main"
    work = workspace.workspace_path(line.desk, second)
    assert (work / "notes" / "today.md").exists()
    line.until(task, "review", stages=DEV)
    line.until(task, "done")
    assert line.file("notes/half.md") is not None
    assert line.file("notes/today.md") == "today\n"
    line.assert_sound()


def test_a_dirty_workspace_is_work_too(line: Line) -> None:
    task = line.add("Dirty", "[behave: dirty]")
    line.until(task, "done")
    assert line.file("notes/dirty.md") is not None
    assert line.runs(task, "dev")[0].state == "completed"
    line.assert_sound()


def _plant_link(folder: Path, secret: Path) -> None:
    (folder / "outbox.json").symlink_to(secret)


def _plant_linked_folder(folder: Path, secret: Path) -> None:
    folder.rmdir()
    folder.symlink_to(secret.parent)


def _plant_pipe(folder: Path, _secret: Path) -> None:
    os.mkfifo(folder / "outbox.json")


def _plant_large(folder: Path, _secret: Path) -> None:
    (folder / "outbox.json").write_text('"' + "x" * workspace.OUTBOX_LIMIT_BYTES + '"')


def _plant_deep(folder: Path, _secret: Path) -> None:
    (folder / "outbox.json").write_text("[" * 200_000)


@pytest.mark.parametrize(
    "plant", [_plant_link, _plant_linked_folder, _plant_pipe, _plant_large, _plant_deep]
)
def test_an_outbox_that_is_no_plain_small_file_is_never_followed_or_waited_for(
    tmp_path: Path, plant: Callable[[Path, Path], None]
) -> None:
    secret = tmp_path / "elsewhere" / "outbox.json"
    secret.parent.mkdir()
    secret.write_text('{"notes": ["secret"]}')
    folder = tmp_path / "work" / workspace.CLAWD_FOLDER
    folder.mkdir(parents=True)
    plant(folder, secret)
    found, complaint = workspace.read_outbox(tmp_path / "work")
    assert found == {}
    assert "secret" not in complaint
