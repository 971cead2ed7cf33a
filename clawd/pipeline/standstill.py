"""What stops every agent at once: the account refuses, or this machine cannot start one."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from clawd.errors import ClawdError
from clawd.model import Run
from clawd.policy import outcome as outcomes
from clawd.policy.failure import REASONS, Owner, Reason
from clawd.policy.outcome import Kind, Outcome
from clawd.store import moves, outbox, projects, runs
from clawd.store.rows import Db

_RUNS_LOOKED_AT = 12
LONGEST_JITTER_S = 20.0


class CannotStart(ClawdError):
    """No agent can be started here, not only this one; `reason` says whose turn it is."""

    def __init__(self, reason: Reason, error: ClawdError) -> None:
        super().__init__(error.message, error.remedy)
        self.reason = reason


def failures_in_a_row(db: Db) -> int:
    """How many of the last runs met what time or a person ends; each pause doubles the next."""
    return outcomes.pauses_in_a_row(runs.last_reasons(db, _RUNS_LOOKED_AT))


def after(db: Db, run: Run, outcome: Outcome) -> None:
    """What the account refuses one run it refuses all: nobody is sent into the same wall."""
    if outcome.reason is None:
        projects.end_trial(db)
    if outcome.kind is not Kind.YIELD or outcome.reason is None or outcome.not_before is None:
        return
    known = REASONS[outcome.reason]
    if known.owner is Owner.ACCOUNT:
        _stop_all(db, run, outcome.reason, outcome.detail, known.remedy, _jittered(outcome))


def _jittered(outcome: Outcome) -> datetime:
    """A little after the reset, and not every machine of an account at the same second."""
    assert outcome.not_before is not None  # noqa: S101 - asked only with one
    return outcome.not_before + timedelta(seconds=random.uniform(1, LONGEST_JITTER_S))


def could_not_start(db: Db, run: Run, error: Exception, now: datetime) -> tuple[Reason, datetime]:
    """Ends the row of a run whose process never came to be; nobody is charged."""
    reason = error.reason if isinstance(error, CannotStart) else Reason.CAGE_FAILED
    until = outcomes.pause_end(now, failures_in_a_row(db))
    if isinstance(error, CannotStart):
        _stop_all(db, run, reason, error.message, error.remedy, until)
    else:
        text = f"Run {run.id} could not start: {error}"
        outbox.put(db, "needs_you", {"text": text}, f"start:{now:%Y-%m-%d}:{error}")
    moves.move_run(db, run.id, "fail", why=str(error), reason=reason.value, detail=str(error))
    return reason, until


def _stop_all(db: Db, run: Run, reason: Reason, detail: str, remedy: str, until: datetime) -> None:
    for pause in projects.pauses(db):
        if (pause["scope"], pause["key"]) == ("all", projects.AGENTS) and pause["until"] > until:
            return  # a run that ended late does not shorten a longer wait
    why = f"{reason}: {detail} {remedy}".strip()
    projects.pause(db, "all", projects.AGENTS, why, f"run {run.id}", until)
    text = f"Agents pause until {until:%H:%M} UTC ({reason}: {detail}). {remedy}"
    outbox.put(db, "needs_you", {"text": text}, f"account:{reason}:{run.id // 20}")
