"""The list `clawd init` prints: a tick, or what is missing and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


class Ask(Protocol):
    """One question to the operator; the default is what a person in a hurry would say."""

    def __call__(
        self, question: str, *, default: str = "", choices: Sequence[str] = (), secret: bool = False
    ) -> str: ...


class Say(Protocol):
    """One line of the list; `ok` is None for what is neither good nor bad."""

    def __call__(self, text: str, ok: bool | None = None) -> None: ...


@dataclass(frozen=True, slots=True)
class Row:
    """One thing looked at."""

    name: str
    ok: bool | None
    detail: str
    remedy: str = ""


@dataclass(slots=True)
class Checklist:
    """The rows so far, each said as soon as it is known."""

    say: Say | None = None
    ask: Ask | None = None
    rows: list[Row] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is missing."""
        return all(row.ok is not False for row in self.rows)

    @property
    def asks(self) -> bool:
        """Whether there is somebody to ask."""
        return self.ask is not None

    def tick(self, name: str, detail: str) -> None:
        """It is there."""
        self._add(Row(name, True, detail))

    def miss(self, name: str, detail: str, remedy: str) -> None:
        """It is not there, and this is what to do."""
        self._add(Row(name, False, detail, remedy))

    def warn(self, name: str, detail: str, remedy: str = "") -> None:
        """Worth knowing; nothing is missing."""
        self._add(Row(name, None, detail, remedy))

    def note(self, text: str) -> None:
        """A line below the row before."""
        self._line(f"    {text}")

    def answer(
        self, question: str, default: str, choices: Sequence[str] = (), *, secret: bool = False
    ) -> str:
        """What the operator says; the default where nobody is asked."""
        if self.ask is None:
            return default
        said = self.ask(question, default=default, choices=choices, secret=secret)
        return said.strip() or default

    def _add(self, row: Row) -> None:
        self.rows.append(row)
        mark = "[!] " if row.ok is None else ""  # ticks and crosses are the speaker's to draw
        self._line(f"{mark}{row.name}: {row.detail}", row.ok)
        if row.remedy:
            self.note(f"-> {row.remedy}")

    def _line(self, text: str, ok: bool | None = None) -> None:
        if self.say is not None:
            self.say(text, ok)
