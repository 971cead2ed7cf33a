"""The home of clawd: made private, refused when it is somebody else's, used by one init at once."""

from __future__ import annotations

import fcntl
import os
import pwd
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clawd.errors import ClawdError, Refused
from clawd.pipeline.desk import Desk
from clawd.setup.checklist import Checklist

BEAT_S = 5.0


def prepare(out: Checklist, home: Path, repository: Path) -> None:
    """Makes the home, or takes the one that is there when it is ours."""
    if repository.resolve().is_relative_to(home.resolve()):
        raise Refused(
            f"{repository} lies inside clawd's own home {home}.",
            "Name a repository outside of it, or set CLAWD_HOME to another folder.",
        )
    made = not home.exists()
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = home.stat()
    except OSError as error:
        raise ClawdError(
            f"The home {home} cannot be made: {error.strerror}.",
            "Set CLAWD_HOME to a folder you may write to.",
        ) from error
    if found.st_uid != os.geteuid():
        raise Refused(
            f"The home {home} belongs to {owner_name(found.st_uid)}.",
            f"Run clawd as {owner_name(found.st_uid)}, or set CLAWD_HOME to a folder of your own.",
        )
    if not os.access(home, os.W_OK | os.X_OK):
        raise ClawdError(f"The home {home} cannot be written to.", f"chmod 700 {home}")
    if stat.S_IMODE(found.st_mode) & 0o077:
        home.chmod(0o700)
        out.tick("home", f"{home}, closed to others now (it was open to them)")
        return
    out.tick("home", f"{home}, {'made, ' if made else ''}only yours")


def owner_name(uid: int) -> str:
    """An account's name, or its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


@contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Two inits at once would write over each other's settings."""
    with (home / "init.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Refused(
                f"Another `clawd init` is at work in {home}.", "Let it finish, then try again."
            ) from None
        yield


@contextmanager
def beating(desk: Desk) -> Iterator[None]:
    """Keepers end what they run when nobody beats; without a daemon that is us."""
    done = threading.Event()

    def beat() -> None:
        while True:
            desk.beat_file.touch()
            if done.wait(BEAT_S):
                return

    thread = threading.Thread(target=beat, name="init-beat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(BEAT_S)


def replace_file(path: Path, text: str) -> None:
    """The whole file in one step, readable by its owner alone."""
    handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # made with 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
