"""The daemon's loops: each reconciles first, acts, and says when it wants to be called again."""

from __future__ import annotations

from clawd.loops.beat import Beat, Care, Watch
from clawd.loops.check import Check
from clawd.loops.merge import Merge
from clawd.loops.plan import Plan
from clawd.loops.work import Work

__all__ = ["Beat", "Care", "Check", "Merge", "Plan", "Watch", "Work"]
