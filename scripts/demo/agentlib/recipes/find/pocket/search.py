"""Finds items by the words in them."""

from __future__ import annotations

from pocket.item import Item


def holding(items: list[Item], words: list[str]) -> list[Item]:
    """The items whose title or note holds every word, whatever the case."""
    wanted = [word.lower() for word in words]
    return [item for item in items if all(word in _text(item) for word in wanted)]


def _text(item: Item) -> str:
    return f"{item.title}\n{item.note}".lower()
