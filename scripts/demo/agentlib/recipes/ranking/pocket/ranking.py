"""Puts the best hits first."""

from __future__ import annotations

from pocket.item import Item


def ranked(items: list[Item], words: list[str]) -> list[Item]:
    """Hits with more of the words in the title come first; equals keep their order."""
    wanted = [word.lower() for word in words]
    return sorted(items, key=lambda item: -sum(word in item.title.lower() for word in wanted))
