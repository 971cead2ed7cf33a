"""How an item looks as a line of text."""

from __future__ import annotations

from pocket.item import Item


def shorten(text: str, width: int = 60) -> str:
    """The text in at most `width` characters."""
    return text if len(text) <= width else text[: width - 1] + "…"


def one_line(item: Item) -> str:
    """The item as the list shows it."""
    mark = "x" if item.read else " "
    return f"[{mark}] {shorten(item.title)}"
