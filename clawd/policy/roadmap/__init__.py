"""ROADMAP.md as goals: reading it, knowing a goal again after an edit, ticking its box."""

from __future__ import annotations

from clawd.policy.roadmap.box import tick, untick
from clawd.policy.roadmap.identity import (
    Changes,
    Held,
    Match,
    NewGoal,
    Rename,
    reconcile,
)
from clawd.policy.roadmap.items import Item, Roadmap, RoadmapBroken, decode, parse
from clawd.policy.roadmap.pairing import KnownGoal

__all__ = [
    "Changes",
    "Held",
    "Item",
    "KnownGoal",
    "Match",
    "NewGoal",
    "Rename",
    "Roadmap",
    "RoadmapBroken",
    "decode",
    "parse",
    "reconcile",
    "tick",
    "untick",
]
