"""What agents may answer: plans, goal specs, verdicts, outboxes, and what is refused of them."""

from __future__ import annotations

from clawd.policy.plan.answers import (
    Answered,
    Claim,
    Finding,
    FindingStatus,
    GoalSpec,
    NoChange,
    Outbox,
    PmAnswer,
    PmQuestion,
    ProposedTask,
    Question,
    Ruling,
    Severity,
    Verdict,
    read_outbox,
    read_pm,
    read_verdict,
)
from clawd.policy.plan.lint import OpenTask, PlanBounds, lint
from clawd.policy.plan.schemas import PLAN_SCHEMA, PM_SCHEMA, QA_SCHEMA
from clawd.policy.plan.shape import BadShape
from clawd.policy.plan.tasks import (
    Difficulty,
    Plan,
    PlannedTask,
    Risk,
    cycle_in,
    in_order,
    read_plan,
)
from clawd.policy.scope import inside, overlaps

__all__ = [
    "PLAN_SCHEMA",
    "PM_SCHEMA",
    "QA_SCHEMA",
    "Answered",
    "BadShape",
    "Claim",
    "Difficulty",
    "Finding",
    "FindingStatus",
    "GoalSpec",
    "NoChange",
    "OpenTask",
    "Outbox",
    "Plan",
    "PlanBounds",
    "PlannedTask",
    "PmAnswer",
    "PmQuestion",
    "ProposedTask",
    "Question",
    "Risk",
    "Ruling",
    "Severity",
    "Verdict",
    "cycle_in",
    "in_order",
    "inside",
    "lint",
    "overlaps",
    "read_outbox",
    "read_plan",
    "read_pm",
    "read_verdict",
]
