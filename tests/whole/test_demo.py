"""The demo as a user starts it: it lands, its summary is true, and nothing outlives it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import yaml

from clawd import demo
from clawd.adapters import postgres, process, server
from clawd.config import FILE_NAME
from clawd.demo import ground as grounds
from clawd.demo import stage
from clawd.demo.screen import Step
from clawd.demo.summary import Summary
from clawd.errors import ClawdError
from tests.parts.agent_ground import GOALS

ROOT = Path(__file__).parents[2]
LIE = "Write down why names matter"
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where all demos of this module go, one beside the other."""
    root = tmp_path_factory.mktemp("demos")
    yield root
    for home in root.iterdir():
        stage.end(home)
        server.discard(home)
        shutil.rmtree(home, ignore_errors=True)


def start_demo(root: Path, *flags: str) -> subprocess.Popen[str]:
    environ = {**os.environ, "CLAWD_DEMO_HOME": str(root), "CLAWD_DATABASE_URL": "not://used"}
    return subprocess.Popen(
        [sys.executable, "-m", "clawd", "demo", *flags],
        cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def first(demos: Path) -> dict[str, Any]:
    """A whole demo at full speed; its summary as JSON."""
    running = start_demo(demos, "--pace", "0", "--json")
    out, err = running.communicate(timeout=220)
    assert running.returncode == 0, f"{out}\n{err}"
    assert "no model is called" in err
    assert "you (the demo) answer: Markdown" in err
    found: dict[str, Any] = json.loads(out)
    return found


def wait_for(condition: Callable[[], Any], limit_s: float = 60) -> Any:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def processes_of(home: Path) -> list[str]:
    """Every process that belongs to a home: by its words, its environment, or its database."""
    found = []
    data = server.status(home).data
    wanted = [str(home), *([str(data)] if data else [])]
    for each in psutil.process_iter():
        try:
            words = " ".join(each.cmdline())
            told = words + " ".join(each.environ().values())
        except psutil.Error:
            continue
        if each.pid != os.getpid() and any(path in told for path in wanted):
            found.append(f"{each.pid} {words[:200]}")
    return found


def fingerprint(home: Path) -> dict[str, tuple[int, int]]:
    """Every file of a home with its size and the moment of its last change."""
    return {
        str(path.relative_to(home)): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in sorted(home.rglob("*"))
    }


def assert_true(summary: dict[str, Any]) -> None:
    """The summary against git and SQL, by other means than its own."""
    home, project = Path(summary["home"]), Path(summary["project"])
    history = git(project, "log", "--first-parent", "--format=%B", "main")
    assert git(project, "rev-parse", "main") == summary["main"]
    for task in summary["tasks"]:
        trailer = f"Clawd-Task: {task['id']}"
        times = history.splitlines().count(trailer)
        proof = task["proof"]
        assert times == (1 if proof and proof["commit"] else 0), trailer
        if proof and proof["commit"]:
            for commit in (proof["commit"], proof["candidate"]):
                git(project, "merge-base", "--is-ancestor", commit, "main")
            assert git(project, "rev-parse", f"{proof['commit']}^{{tree}}") == proof["tests_tree"]
    tests = subprocess.run(
        ["python3", "-m", "unittest", "-q"], cwd=project, capture_output=True, check=False,
        timeout=60, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert tests.returncode == 0, tests.stderr
    try:
        with postgres.connect(server.ensure_running(home).conninfo, application_name="t") as db:
            assert_rows(db, summary)
    finally:
        server.stop(home)


def assert_rows(db: Any, summary: dict[str, Any]) -> None:
    rows = {row["id"]: row for row in db.execute("select * from task").fetchall()}
    assert sorted(rows) == [task["id"] for task in summary["tasks"]]
    for task in summary["tasks"]:
        row = rows[task["id"]]
        assert (task["state"], task["rounds"]) == (row["state"], row["round"])
        assert (task["bounces"], task["tries"]) == (row["bounces"], row["tries"])
        events = [
            each["event"]
            for each in db.execute(
                "select event from history where kind = 'task' and subject = %s", (task["id"],)
            )
        ]
        for mark, names in {
            "revised": {"revise"},
            "bounced": {"bounce"},
            "asked": {"ask"},
            "failed": {"fail", "lose", "check_red"},
            "parked": {"give_up", "park"},
        }.items():
            assert (mark in task["marks"]) == bool(names & set(events)), (task, events)
    spent = db.execute("select sum(micros)::bigint as micros from ledger").fetchone()["micros"]
    assert summary["total_micros"] == spent
    landed = db.execute("select task from landing where state = 'landed'").fetchall()
    commits = [t["id"] for t in summary["tasks"] if t["proof"] and t["proof"]["commit"]]
    assert sorted(row["task"] for row in landed) == commits


def test_the_demo_lands_its_roadmap_and_tells_the_truth(first: dict[str, Any]) -> None:
    assert first["ok"]
    assert first["scripted"]
    assert [task["state"] for task in first["tasks"]] == ["done"] * 8
    assert [goal["title"] for goal in first["goals"]] == list(GOALS)
    assert all(goal["ticked"] for goal in first["goals"])
    assert all(finding["holds"] for finding in first["findings"])
    assert {m["what"] for m in first["moments"] if m["seen"]} >= {
        "agents at once", "review", "sent back", "question",
    }  # fmt: skip
    assert first["most_at_once"] >= 3
    told = " ".join(sentence for task in first["tasks"] for sentence in task["happened"])
    assert "QA asked for 4 changes in round 1" in told
    assert "was sent back, landed after" in told
    assert "the demo answered: Markdown" in told
    assert_true(first)


def test_nothing_of_a_finished_demo_is_left_running(first: dict[str, Any]) -> None:
    assert processes_of(Path(first["home"])) == []


def test_the_commands_of_the_summary_work_as_they_are_printed(first: dict[str, Any]) -> None:
    look = first["tasks"][2]["look"]
    asked = subprocess.run(
        ["/bin/sh", "-c", look], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert asked.returncode == 0, asked.stderr
    assert "Task 3 landed as" in asked.stdout
    assert processes_of(Path(first["home"])) == []


class Recorder:
    """A screen that remembers."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.steps: list[Step] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def show(self, _board: object, steps: Sequence[Step], _note: str) -> None:
        self.steps += steps

    def close(self) -> None:
        return

    def result(self, _summary: Summary) -> None:
        return


def shuffle(ground: demo.Ground, chance: random.Random) -> None:
    """Another order of goals, other agents, and a goal whose developer lies."""
    goals = [*GOALS, LIE]
    chance.shuffle(goals)
    lines = ["# What comes next for pocket", ""]
    for goal in goals:
        lines.append(f"- [ ] {goal}")
        lines += ["  - a note [behave: lie]"] if goal == LIE else []
    (ground.project / "ROADMAP.md").write_text("\n".join(lines) + "\n")
    grounds.commit_all(ground.project, "another order")
    settings = grounds.settings(ground)
    names = ["ash", "birch", "cedar", "dogwood"]
    chance.shuffle(names)
    settings["agents"]["dev"]["names"] = names
    (ground.home / FILE_NAME).write_text(yaml.safe_dump(settings))


def change_pace(ground: demo.Ground, chance: random.Random, over: threading.Event) -> None:
    """Every agent that starts from now on works at another speed."""
    target = ground.agent.with_name("pace")
    while not over.wait(0.3):
        draft = target.with_suffix(".new")
        draft.write_text(f"{chance.choice([0, 0, 0.05, 0.15])}\n")
        draft.replace(target)


def honest_developers(ground: demo.Ground) -> dict[int, int]:
    """The processes of developers at work on anything but the lie: pid and task."""
    running = server.find_running(ground.home)
    if running is None:
        return {}
    with postgres.connect(running.conninfo, application_name="killer") as db:
        rows = db.execute(
            """select r.marker, r.task from run r join task t on t.id = r.task
               join goal g on g.id = t.goal where r.role = 'dev' and r.state = 'executing'
                 and g.title <> %s""",
            (LIE,),
        ).fetchall()
    tasks = {row["marker"]: row["task"] for row in rows}
    return {
        pid: tasks[marker]
        for pid, marker in process.find_marked().items()
        if marker in tasks and str(ground.agent) in psutil.Process(pid).cmdline()[:3]
    }


def kill_a_developer(ground: demo.Ground, killed: list[int], over: threading.Event) -> None:
    """kill -9 to one agent in the middle of its work."""
    while not killed and not over.wait(0.05):
        with contextlib.suppress(psutil.Error, psycopg.Error, ClawdError):
            for pid, task in list(honest_developers(ground).items())[:1]:
                os.kill(pid, signal.SIGKILL)
                killed.append(task)


def test_shuffled_with_one_agent_killed_and_one_lying_the_summary_is_still_true(
    demos: Path, first: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}")
    chance = random.Random(seed)
    before = fingerprint(Path(first["home"]))
    monkeypatch.setenv("CLAWD_DEMO_HOME", str(demos))
    ground = demo.lay(None, 0)
    assert ground.home != Path(first["home"])
    shuffle(ground, chance)
    killed: list[int] = []
    over, screen = threading.Event(), Recorder()
    helpers = [
        threading.Thread(target=change_pace, args=(ground, chance, over)),
        threading.Thread(target=kill_a_developer, args=(ground, killed, over)),
    ]
    for helper in helpers:
        helper.start()
    try:
        found = demo.play(ground, screen, limit_s=200)
    finally:
        over.set()
        for helper in helpers:
            helper.join(10)
    summary = json.loads(json.dumps(demo.as_dict(found)))
    assert killed
    assert not found.ok
    assert [finding for finding in found.findings if not finding.holds] == []
    (liar,) = [goal for goal in found.goals if goal.title == LIE]
    for task in found.tasks:
        if task.id in liar.tasks:
            assert (task.state, task.reason, task.proof) == ("parked", "tries", None)
            assert any(said.startswith("parked: 3 tries failed") for said in task.happened)
            assert f"task {task.id}" in found.said
        else:
            assert task.state == "done", task
    assert [goal.title for goal in found.goals if goal.state != "done"] == [LIE]
    (victim,) = [task for task in found.tasks if task.id == killed[0]]
    assert (victim.state, victim.tries) == ("done", 1)
    assert "crashed" in victim.happened[0]
    assert_true(summary)
    assert processes_of(ground.home) == []
    assert fingerprint(Path(first["home"])) == before  # a demo leaves earlier ones alone


def at_work(home: Path) -> bool:
    """Several agents have begun to speak."""
    return len([f for f in home.glob("runs/[0-9]*/stream.jsonl") if f.stat().st_size]) >= 4


def laid(home: Path) -> bool:
    """Nothing but files so far, or a database in the making."""
    return (home / FILE_NAME).exists()


@pytest.mark.parametrize(
    ("moment", "how", "code"),
    [
        (laid, signal.SIGINT, 130),
        (at_work, signal.SIGTERM, 130),
        (at_work, signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_a_demo_that_is_interrupted_or_killed_leaves_no_process(
    demos: Path, moment: Callable[[Path], bool], how: signal.Signals, code: int
) -> None:
    known = set(demos.iterdir())
    running = start_demo(demos, "--pace", "1")
    try:
        (home,) = wait_for(lambda: set(demos.iterdir()) - known)
        wait_for(lambda: moment(home) or running.poll() is not None)
        assert running.poll() is None, running.communicate()
        began = time.monotonic()
        running.send_signal(how)
        running.communicate(timeout=30)
        assert running.returncode == code
        wait_for(lambda: not processes_of(home), 20)
        assert time.monotonic() - began < 20
    finally:
        running.kill()
        running.communicate()
