"""A small world in the database for the tests of steer, views and the command line."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from clawd.model import Answer, Clause, Contract, Goal, Project, Run, Task
from clawd.store import (
    agents,
    approvals,
    evidence,
    goals,
    landings,
    ledger,
    moves,
    projects,
    runs,
    tasks,
)
from clawd.store.rows import Db

DAY = "2026-11-21"
HOST = "here"
MAIN, NEXT, TREE = "a" * 40, "b" * 40, "c" * 40
__all__ = ["DAY", "Answer", "World", "make_world"]


@dataclass
class World:
    """One project with a green main, three agents and a goal."""

    db: Db
    project: Project
    goal: Goal

    def task(self, title: str = "A thing", **more: Any) -> Task:
        """A task in the queue, with one acceptance command."""
        contract = Contract(
            spec=f"Do it: {title}", acceptance=(Clause("A1", "true"),), scope=("src/**",)
        )
        return tasks.add(
            self.db, self.project.id, title=title, contract=contract, why="the plan says so",
            goal=self.goal.id, **more,
        )  # fmt: skip

    def claim(self, task: int, role: str = "dev") -> Run:
        """An idle agent of the role takes the task, with a dollar reserved."""
        agent = agents.idle(self.db, role)[0]
        found = moves.claim(self.db, moves.Claim(
            tasks=(task,), role=role, agent=agent.id, host=HOST, lease=timedelta(seconds=90),
            run={"reserved_micros": 1_000_000, "tier": "intern", "limits": {"day": DAY}},
            why="it is the first ready task",
        ))  # fmt: skip
        assert found is not None
        return found

    def start(self, task: int) -> Run:
        """A developer at work."""
        run = self.claim(task)
        moves.move_task(self.db, task, "start", why="the agent started", fence=run.fence,
                        run=run.id)  # fmt: skip
        runs.note(self.db, run.id, doing="Bash: make test", turns=3, spent_micros=120_000)
        return run

    def candidate(self, task: int, run: Run, check: str = "green") -> int:
        """The run's candidate, checked."""
        found = runs.add_candidate(
            self.db, task=task, run=run.id, host=HOST, ref=f"refs/clawd/run/{run.id}",
            oid=f"{run.id:040x}", base_oid=MAIN, tree=TREE, patch_digest=f"p{run.id}",
            no_change=False, stat={"files": [{"path": "src/a.py", "added": 10, "deleted": 1}]},
        )  # fmt: skip
        checks = [{"id": "A1", "run": "true", "rc": 0, "output": ""}]
        runs.checked(self.db, found.id, check, checks)
        return found.id

    def finish(self, task: int) -> int:
        """A developer works and hands in a candidate; the task is in review."""
        run = self.start(task)
        candidate = self.candidate(task, run)
        moves.move_task(self.db, task, "finish", why="it handed in a candidate", fence=run.fence,
                        run=run.id, candidate=candidate)  # fmt: skip
        self.end(run)
        return candidate

    def review(self, task: int, candidate: int, answer: str) -> None:
        """QA says pass or revise."""
        run = self.claim(task, "qa")
        findings = [{"id": "F1", "path": "a.py", "line": 3, "severity": "major", "text": "wrong"}]
        runs.add_verdict(
            self.db, task=task, candidate=candidate, run=run.id, contract_version=1,
            answer=answer, summary="Looked at it.",
            findings=[] if answer == "pass" else findings,
        )  # fmt: skip
        moves.move_task(self.db, task, answer, why=f"QA says {answer}", fence=run.fence,
                        run=run.id)  # fmt: skip
        self.end(run)

    def land(self, task: int, candidate: int) -> None:
        """The train lands it, and its proof is found."""
        landings.remember_tests(self.db, self.project.id, TREE, "cmd", "env",
                                landings.TestVerdict("green", 1, 0, 4200, "", "ok"))  # fmt: skip
        row = landings.intend(
            self.db, project=self.project.id, task=task, kind="land", candidate=candidate,
            old_main=MAIN, new_main=NEXT, car=NEXT, tree=TREE, epoch=1,
        )  # fmt: skip
        landings.settle(self.db, row.id, "landed")
        moves.move_task(self.db, task, "land", why="tests green")
        proof = evidence.add(self.db, task=task, run=None, kind="landing", claim="is on main",
                             proven=True)  # fmt: skip
        moves.move_task(self.db, task, "prove", why=f"evidence {proof}")

    def ask(self, task: int, question: str = "Which one?", kind: str = "question") -> int:
        """A developer at work stops and asks."""
        run = self.start(task)
        found = approvals.ask(self.db, kind=kind, question=question, task=task,
                              options=["this", "that"])  # fmt: skip
        moves.move_task(self.db, task, "ask", why="the agent asks", fence=run.fence, run=run.id,
                        return_to="dev", reason="question", owner="operator",
                        action="clawd inbox")  # fmt: skip
        self.end(run)
        return found.id

    def end(self, run: Run) -> None:
        """The run completes at its noted cost."""
        moves.move_run(self.db, run.id, "complete", why="it ended", spent_micros=120_000)

    def state(self, task: int) -> str:
        found = tasks.by_id(self.db, task)
        assert found is not None
        return str(found.state)


def make_world(db: Db, path: Path, *, slug: str = "shop") -> World:
    """A project at `path` with agents, a goal and envelopes."""
    project = projects.save(
        db, slug=slug, path=str(path), main_ref="refs/heads/main", home_host=HOST, weight=1,
        landing="branch", test_cmd="make test", setup_cmd="", settings={},
    )  # fmt: skip
    projects.note(db, project.id, baseline_verdict="green", baseline_tree=TREE)
    for name, role in (("ada", "dev"), ("bob", "dev"), ("eve", "qa"), ("pia", "planner")):
        agents.ensure(db, name, role, "claude-sonnet-4-5")
    goal = goals.add(
        db, project.id, ident="g1", title="Orders can be exported", body="As CSV.", section="",
        digest="d", line=12, priority=0, why="a new line in ROADMAP.md",
    )  # fmt: skip
    moves.move_goal(db, goal.id, "plan", why="it is the first goal")
    goal = moves.move_goal(db, goal.id, "planned", why="two tasks")
    ledger.envelope(db, "day", "all", DAY, 10_000_000)
    for number in range(1, 30):
        ledger.envelope(db, "task", str(number), "", 2_000_000)
    found = projects.by_slug(db, slug)
    assert found is not None
    return World(db, found, goal)


def whole_story(world: World) -> dict[str, int]:
    """A landed task after a revise, one at work, one asking, one parked, one ready, one held up."""
    landed = world.task("Read orders").id
    world.review(landed, world.finish(landed), "revise")
    candidate = world.finish(landed)
    world.review(landed, candidate, "pass")
    world.land(landed, candidate)
    asking = world.task("Write CSV").id
    ask = world.ask(asking)
    parked = world.task("Too hard").id
    run = world.start(parked)
    moves.move_task(world.db, parked, "give_up", why="three tries", fence=run.fence, run=run.id,
                    reason="tries", owner="operator")  # fmt: skip
    moves.move_run(world.db, run.id, "fail", why="red", reason="check_red")
    working = world.task("Name the file").id
    world.start(working)
    ready = world.task("Document it").id
    blocked = world.task("Announce it", needs=[ready]).id
    return {
        "landed": landed, "asking": asking, "ask": ask, "parked": parked, "working": working,
        "ready": ready, "blocked": blocked,
    }  # fmt: skip
