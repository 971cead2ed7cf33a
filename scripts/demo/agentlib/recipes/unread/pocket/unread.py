"""What is still waiting to be read."""

from __future__ import annotations

from pocket.item import Item
from pocket.text import shorten


def unread(items: list[Item]) -> list[Item]:
    """The items not read yet, the oldest first."""
    return sorted((item for item in items if item.read is None), key=lambda item: item.added)


def lines(items: list[Item]) -> list[str]:
    """One line for each unread item: the day it was added and its title."""
    return [f"{item.added.isoformat()}  {shorten(item.title, 40)}" for item in unread(items)]
