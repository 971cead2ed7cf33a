"""One configurable value: its default, its line of documentation, its unit and its bounds."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Setting:
    """What the configuration reader and the reference page know about a field."""

    doc: str
    unit: str = ""
    name: str = ""
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    required: bool = False


def setting(default: Any = MISSING, doc: str = "", **facts: Any) -> Any:
    """A dataclass field that clawd.yaml can set; a callable default makes the value."""
    metadata = {"setting": Setting(doc, **facts)}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)
