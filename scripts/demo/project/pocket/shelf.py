"""The list itself: loaded from and saved to one JSON file."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

from pocket.item import Item


class Shelf:
    """All items, in the order they were added."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.items: list[Item] = []
        if path.exists():
            self.items = [Item.from_record(record) for record in json.loads(path.read_text())]

    def add(self, item: Item) -> int:
        """Puts the item at the end and returns its number, counted from 1."""
        self.items.append(item)
        return len(self.items)

    def finish(self, number: int, day: date) -> Item:
        """Marks the item with that number as read on that day."""
        if not 1 <= number <= len(self.items):
            raise LookupError(f"there is no item {number}")
        item = self.items[number - 1]
        item.read = day
        return item

    def save(self) -> None:
        """Writes the list back to its file."""
        records = [item.to_record() for item in self.items]
        self.path.write_text(json.dumps(records, indent=2) + "\n")
