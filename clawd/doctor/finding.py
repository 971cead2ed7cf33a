"""One line of the doctor."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at and how it is; what is not well always comes with a remedy."""

    name: str
    ok: bool | None
    detail: str
    remedy: str = ""
