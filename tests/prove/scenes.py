"""Small stories that lead a daemon past every crash point, with what the operator does in them."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from clawd import steer
from clawd.errors import Refused
from tests.prove.ground import Nudge, keepers, nobody
from tests.whole.line import Line

SLOW_TESTS = "sleep 0.4\n"
GOAL = "# Roadmap\n\n- [ ] Write a note about the sea\n"
SETUP = {
    "path": "", "test": "test -f dep/made", "max_agents": 4, "setup_paths": ["dep"],
    "setup": "mkdir -p dep && touch dep/made",
}  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """What is there before the daemon starts, and what the operator does while it works."""

    name: str
    prepare: Callable[[Line], Any]
    nudge: Callable[[], Nudge] = lambda: nobody
    ends: tuple[str, ...] = ("done",)  # the states its tasks may end in
    project: dict[str, Any] = field(default_factory=dict)


def _work(line: Line) -> None:
    """A revise round, and two candidates that each merge alone: one is sent back."""
    line.commit({"tests.sh": SLOW_TESTS})
    line.add("Revised", "[behave: revise]")
    for side in ("left", "right"):
        line.add(side.title(), f"[behave: write notes/shared.md {side}]",
                 scope=(f"notes/{side}.md",))  # fmt: skip


def _goal(line: Line) -> None:
    line.commit({"ROADMAP.md": GOAL})


def _layer(line: Line) -> None:
    shutil.rmtree(line.desk.layers)
    line.add("Layered")


def _one(line: Line) -> None:
    line.add("Only one")


def _undo() -> Nudge:
    """Takes the task back as soon as it is done."""
    asked: list[int] = []

    def nudge(line: Line) -> None:
        done = line.rows("select id from task where state = 'done'")
        if done and not asked:
            asked.append(done[0]["id"])
            with line.desk.db() as db:
                steer.undo(db, asked[0])

    return nudge


def _lose_hub() -> Nudge:
    """Removes the hub as soon as something landed, and asks for more work."""
    lost: list[int] = []

    def nudge(line: Line) -> None:
        if not lost and line.rows("select from task where state = 'done'"):
            shutil.rmtree(line.home / "hubs" / "sample.git")
            lost.append(line.add("After it"))

    return nudge


def _hanging(line: Line) -> None:
    line.add("Hanging", "[behave: hang first 1]")


def _kill_keeper() -> Nudge:
    """Kills the first keeper whose agent took its prompt."""
    killed: list[int] = []

    def nudge(line: Line) -> None:
        at_work = line.rows("select from run where delivered_at is not null and ended_at is null")
        if at_work and not killed:
            for pid in keepers(line):
                killed.append(pid)
                os.kill(pid, signal.SIGKILL)

    return nudge


def _unwanted(line: Line) -> None:
    line.add("Unwanted", "[behave: hang]")


def _cancel() -> Nudge:
    """Cancels the task while its agent works."""

    def nudge(line: Line) -> None:
        at_work = line.rows(
            "select task from run where delivered_at is not null and ended_at is null"
        )
        for row in at_work:
            with line.desk.db() as db:
                try:
                    steer.cancel_task(db, row["task"])
                except Refused:
                    return

    return nudge


SCENES = {
    scene.name: scene
    for scene in (
        Scene("work", _work),
        Scene("plain", _one),
        Scene("goal", _goal),
        Scene("layer", _layer, project=SETUP),
        Scene("undo", _one, _undo, ("rolled_back",)),
        Scene("hub", _one, _lose_hub),
        Scene("lost", _hanging, _kill_keeper),
        Scene("cancelled", _unwanted, _cancel, ("cancelled",)),
    )
}
# Which story passes a point, by the point's stage; `work` passes all the others.
STAGES = {
    "sync": "goal", "roadmap": "goal", "specify": "goal", "plan": "goal", "goal": "goal",
    "tick": "goal", "layer": "layer", "undo": "undo", "restore": "hub", "lose": "lost",
    "fence": "cancelled",
}  # fmt: skip


def scene_of(point: str) -> Scene:
    """The story that passes a point."""
    return SCENES[STAGES.get(point.partition(".")[0], "work")]
