"""What `clawd init` can be told beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from clawd.errors import UsageError

LOGINS = ("token", "key", "inherit", "none")
LANDINGS = ("follow", "branch")
SANDBOXES = ("auto", "none")


@dataclass(frozen=True, slots=True)
class Choices:
    """Answers given beforehand; None asks, or takes what is there."""

    sandbox: str | None = None
    login: str | None = None
    token: str | None = None
    day_micros: int | None = None
    landing: str | None = None
    branch: str | None = None
    setup_cmd: str | None = None
    test_cmd: str | None = None
    prove: bool | None = None
    probe: bool | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Choices:
        """From keyword arguments; an unknown one or an unknown value is refused."""
        known = {field.name for field in fields(cls)}
        unknown = set(given) - known
        if unknown:
            raise UsageError(f"`init` knows no choice {sorted(unknown)[0]!r}.")
        found = cls(**given)
        for name, values in (("sandbox", SANDBOXES), ("login", LOGINS), ("landing", LANDINGS)):
            value = getattr(found, name)
            if value is not None and value not in values:
                raise UsageError(f"{name} must be one of {', '.join(values)}, not {value!r}.")
        return found
