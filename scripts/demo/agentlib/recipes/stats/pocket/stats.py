"""How much was read, and when."""

from __future__ import annotations

from collections import Counter

from pocket.item import Item


def per_week(items: list[Item]) -> dict[str, int]:
    """How many items were read in each ISO week, the earliest first."""
    weeks = Counter(item.read.strftime("%G-W%V") for item in items if item.read)
    return dict(sorted(weeks.items()))


def average_per_week(items: list[Item]) -> float:
    weeks = per_week(items)
    return sum(weeks.values()) / len(weeks)
