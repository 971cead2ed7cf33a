"""One thing to read."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date


@dataclass
class Item:
    """Something on the list; `read` is the day it was read, or None."""

    title: str
    url: str = ""
    note: str = ""
    tags: list[str] = field(default_factory=list)
    added: date = date(2026, 1, 1)
    read: date | None = None

    def to_record(self) -> dict:
        """The item as JSON can hold it."""
        return {
            "title": self.title,
            "url": self.url,
            "note": self.note,
            "tags": self.tags,
            "added": self.added.isoformat(),
            "read": self.read.isoformat() if self.read else None,
        }

    @classmethod
    def from_record(cls, record: dict) -> Item:
        """The item that `to_record` wrote."""
        read = record.get("read")
        return cls(
            title=record["title"],
            url=record.get("url", ""),
            note=record.get("note", ""),
            tags=list(record.get("tags", [])),
            added=date.fromisoformat(record["added"]),
            read=date.fromisoformat(read) if read else None,
        )
