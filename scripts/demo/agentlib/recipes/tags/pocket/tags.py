"""What the tags say about the list."""

from __future__ import annotations

from collections import Counter

from pocket.item import Item


def count_tags(items: list[Item]) -> list[tuple[str, int]]:
    """Every tag with the number of its items: the most used first, then by name."""
    counts = Counter(tag for item in items for tag in set(item.tags))
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def with_tag(items: list[Item], tag: str) -> list[Item]:
    """The items that have this tag."""
    return [item for item in items if tag in item.tags]
