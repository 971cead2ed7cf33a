"""What the demo shows itself on: a terminal, a pipe, or a test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from clawd.store.views_board import Board

if TYPE_CHECKING:
    from clawd.demo.summary import Summary


@dataclass(frozen=True, slots=True)
class Step:
    """One decision of clawd as it happened, with the seconds since the demo began."""

    at_s: float
    subject: str
    event: str
    state: str
    agent: str
    why: str


class Screen(Protocol):
    """Somebody to show the demo to."""

    def say(self, text: str) -> None:
        """One sentence of the demo's own."""

    def show(self, board: Board, steps: Sequence[Step], note: str) -> None:
        """The board as it stands, and what happened since the last look."""

    def close(self) -> None:
        """No board comes any more."""

    def result(self, summary: Summary) -> None:
        """How it went."""
