"""Starts the database of a home for its own unit, then becomes the small process that minds it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

from clawd.adapters import notify, server
from clawd.errors import ClawdError

MINDER = Path(__file__).with_name("minder.py")


def main(home: Path) -> NoReturn:
    """Does not return: the minder takes this process over."""
    try:
        server.ensure_running(home)
    except ClawdError as error:
        sys.exit(str(error))
    status = server.status(home)
    if status.pid is None or status.data is None:
        sys.exit("The database stopped right after its start.")
    notify.tell(notify.READY, f"STATUS=the server is process {status.pid}")
    watched = [str(status.pid), str(status.data / "postmaster.pid")]
    command = [sys.executable, "-I", "-S", str(MINDER), *watched]
    os.execv(sys.executable, command)  # noqa: S606 - the unit's main process stays this one


if __name__ == "__main__":
    main(Path(sys.argv[1]))
