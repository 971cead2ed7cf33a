"""Watches the demo as any client would: reads the database, answers the question, sees the end."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic

from clawd import steer
from clawd.adapters import postgres
from clawd.demo.screen import Screen, Step
from clawd.demo.stage import Stage
from clawd.errors import ClawdError
from clawd.steer.words import By
from clawd.store import approvals, views_board, views_demo
from clawd.store.rows import Db

LOOK_EVERY_S = 0.4
SHOWN_BEFORE_ANSWERED = timedelta(seconds=1)
ANSWERER = By("the demo", "demo")


@dataclass(frozen=True, slots=True)
class Ending:
    """How the watching ended: nothing moves any more, or the time was over."""

    settled: bool
    said: str
    answers: dict[int, str] = field(default_factory=dict)


def follow(stage: Stage, screen: Screen, deadline: float) -> Ending:
    """Until nothing can move any more without a person, or until the deadline (monotonic)."""
    answers: dict[int, str] = {}
    patience, note, seen = threading.Event(), "", set[int]()
    began = monotonic()
    try:
        with postgres.connect(stage.conninfo, application_name="clawd demo") as db:
            while True:
                stage.check_daemon()
                told = _answer(db, answers)
                if told:
                    note = told
                    screen.say(told)
                steps = _steps(db, seen)
                screen.show(views_board.board(db, tasks=12, events=6), steps, note)
                if views_demo.is_settled(db):
                    return Ending(True, f"settled after {monotonic() - began:.1f} s", answers)
                if monotonic() > deadline:
                    return Ending(False, "the time was over before everything had ended", answers)
                patience.wait(LOOK_EVERY_S)
    finally:
        screen.close()


def _answer(db: Db, answers: dict[int, str]) -> str:
    """The demo is the operator of its sample: it takes the first option, for everybody to see."""
    now = views_demo.now(db)
    for asked in approvals.waiting(db):
        if asked.kind != "question" or asked.asked > now - SHOWN_BEFORE_ANSWERED:
            continue
        chosen = str(asked.options[0]) if asked.options else "Yes, go on as you think best."
        try:
            steer.answer(db, asked.id, chosen, by=ANSWERER)
        except ClawdError:
            continue  # it was settled meanwhile
        answers[asked.id] = chosen
        about = f"task {asked.task}" if asked.task else f"goal {asked.goal}"
        return f"{about} asks: {asked.question}  ->  you (the demo) answer: {chosen}"
    return ""


def _steps(db: Db, seen: set[int]) -> list[Step]:
    """Decisions not seen before; a late commit may come with an earlier number."""
    rows = views_demo.steps(db)
    fresh = [row for row in rows if row["id"] not in seen]
    seen.update(row["id"] for row in fresh)
    return [
        Step(
            row["at_s"], f"{row['kind']} {row['subject']}", row["event"], row["to_state"],
            row["agent"], row["why"],
        )
        for row in fresh
    ]  # fmt: skip
