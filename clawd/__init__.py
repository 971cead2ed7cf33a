"""clawd: a daemon that runs teams of coding agents and proves what they did."""

from __future__ import annotations

__version__ = "0.1.0"
