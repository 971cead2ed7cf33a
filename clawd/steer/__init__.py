"""Every human verb in one list; all interfaces and the command line share it."""

from __future__ import annotations

from clawd.steer.goals import add_goal, reopen_goal
from clawd.steer.inbox import answer, approve, reject
from clawd.steer.money import set_day_budget, set_task_budget
from clawd.steer.power import end_runs, freeze, kill, pause, resume, unfreeze
from clawd.steer.tasks import add_task, cancel_task, edit_task, reopen_task, retry_task, undo
from clawd.steer.words import OPERATOR, By, Outcome

__all__ = [
    "OPERATOR",
    "By",
    "Outcome",
    "add_goal",
    "add_task",
    "answer",
    "approve",
    "cancel_task",
    "edit_task",
    "end_runs",
    "freeze",
    "kill",
    "pause",
    "reject",
    "reopen_goal",
    "reopen_task",
    "resume",
    "retry_task",
    "set_day_budget",
    "set_task_budget",
    "undo",
    "unfreeze",
]
