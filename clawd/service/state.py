"""How a service is, in the same words for every service manager."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from clawd.service.order import Order


@dataclass(frozen=True, slots=True)
class State:
    """What the service manager says; `state` is running, stopped, starting, failed or absent."""

    state: str
    pid: int | None = None
    last_exit: int | None = None
    starts: int | None = None
    detail: str = ""


class Manager(Protocol):
    """launchd or systemd, as far as clawd needs one."""

    kind: str
    order: Order

    @property
    def file(self) -> Path:
        """The file the service is written in."""

    def install(self) -> list[str]:
        """Writes and loads the service and starts it; what the operator should know besides."""

    def uninstall(self) -> bool:
        """Stops and removes it; False when there was none."""

    def start(self) -> None:
        """Starts it when it is stopped."""

    def restart(self) -> None:
        """Stops it and starts it again."""

    def state(self) -> State:
        """How it is now; never raises for a service that is not there."""

    def look(self, *, probe: bool, limit_s: float) -> None:
        """Runs the look at the login where the daemon runs; the answer is in a file."""

    def installed_python(self) -> str | None:
        """The interpreter the installed service names."""


def write_file(path: Path, content: bytes) -> None:
    """The whole file in one step, readable by its owner alone."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # made with 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
