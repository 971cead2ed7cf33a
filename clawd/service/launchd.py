"""The LaunchAgent on macOS: written by plistlib, loaded into the person's own login session."""

from __future__ import annotations

import os
import plistlib
import re
import threading
from pathlib import Path
from time import monotonic
from typing import Any

from clawd import share
from clawd.errors import ClawdError, Refused
from clawd.service.calling import Done, call
from clawd.service.order import Order
from clawd.service.state import State, write_file

_TEMPLATE = "launchd/clawd.plist"
_LOAD_TRIES = 5
_UNLOAD_LIMIT_S = 75.0  # ExitTimeOut and a little
_ABSENT = (3, 113)
_BUSY = (5, 36, 37)
_LINE = re.compile(r"^\t(state|pid|runs|last exit code|last terminating signal) = (.+)$", re.M)
_NO_SESSION = (
    "Log in as this person at the Mac's own screen (or switch automatic login on) and run "
    "`clawd service install` again, there or over ssh. Until then `clawd up` works without it."
)
# What launchctl says, by exit code or text, and what helps; the first match counts.
REMEDIES: tuple[tuple[tuple[int, ...], str, str], ...] = (
    ((125,), "domain does not support", _NO_SESSION),
    ((112,), "could not find domain", _NO_SESSION),
    ((119, 133), "service is disabled",
     "Allow it: System Settings, General, Login Items & Extensions, `python`; then install again."),
    ((122, 134), "path had bad ownership",
     "The file must be yours and closed to others: delete it and run `clawd service install`."),
    ((1, 150), "operation not permitted",
     "Another program manages background items here (a company profile?): ask who does."),
    (_BUSY, "input/output error",
     "It is still loaded or still stopping: run `clawd service uninstall`, wait a minute, then "
     "`clawd service install`; clawd service status --report shows more."),
)  # fmt: skip


class Launchd:
    """One LaunchAgent of this person; Postgres needs none: it is in a session of its own."""

    kind = "launchd"

    def __init__(self, order: Order, uid: int | None = None) -> None:
        self.order = order
        self._uid = os.getuid() if uid is None else uid
        if self._uid == 0:
            raise Refused(
                "A LaunchAgent belongs to a person's login session, and root has none.",
                "Run it without sudo.",
            )

    @property
    def label(self) -> str:
        return f"{self.order.name}.daemon"

    @property
    def file(self) -> Path:
        return self._agents / f"{self.label}.plist"

    @property
    def _agents(self) -> Path:
        return Path(self.order.environment["HOME"]) / "Library" / "LaunchAgents"

    @property
    def _domain(self) -> str:
        return f"gui/{self._uid}"

    def document(self) -> dict[str, Any]:
        """The agent as launchd reads it."""
        return self._filled(self.label, self.order.daemon)

    def install(self) -> list[str]:
        """Replaces what was loaded before."""
        self._unload(self.label)
        write_file(self.file, plistlib.dumps(self.document()))
        self._load(self.label, self.file)
        return []

    def uninstall(self) -> bool:
        """Out of the session and off the disk."""
        was_loaded = self._unload(self.label)
        was_there = self.file.exists()
        self.file.unlink(missing_ok=True)
        return was_loaded or was_there

    def start(self) -> None:
        """Loads it when it is not, and starts it when it is stopped."""
        self._kick()

    def restart(self) -> None:
        """-k also ends one that does not answer; its runs go on."""
        self._kick("-k")

    def state(self) -> State:
        """What `launchctl print` says."""
        done = call(["launchctl", "print", f"{self._domain}/{self.label}"])
        if not done.ok:
            where = "not loaded" if self.file.exists() else "not installed"
            known = done.rc in _ABSENT or "could not find service" in done.out.lower()
            return State("absent", detail=where if known else f"{where}: {done.said}")
        return read_print(done.out)

    def look(self, *, probe: bool, limit_s: float) -> None:
        """A second agent for a moment, like the first in everything but its command."""
        label = f"{self.order.name}.look"
        document = self._filled(label, self.order.look(probe=probe))
        del document["KeepAlive"]
        path = self._agents / f"{label}.plist"
        write_file(path, plistlib.dumps(document))
        try:
            self._unload(label)
            self._load(label, path)
            _wait(self.order.look_answer.exists, limit_s)
        finally:
            path.unlink(missing_ok=True)
            self._unload(label)

    def installed_python(self) -> str | None:
        """Read back from the file."""
        try:
            found = plistlib.loads(self.file.read_bytes())["ProgramArguments"][0]
        except (OSError, ValueError, KeyError, IndexError, TypeError):
            return None
        return str(found)

    def _filled(self, label: str, command: list[str]) -> dict[str, Any]:
        document: dict[str, Any] = plistlib.loads(share.path(_TEMPLATE).read_bytes())
        return document | {
            "Label": label,
            "ProgramArguments": command,
            "EnvironmentVariables": dict(self.order.environment),
            "WorkingDirectory": str(self.order.home),
            "StandardOutPath": str(self.order.log),
            "StandardErrorPath": str(self.order.log),
        }

    def _kick(self, *flags: str) -> None:
        target = f"{self._domain}/{self.label}"
        done = call(["launchctl", "kickstart", *flags, target])
        if done.ok:
            return
        if done.rc in _ABSENT and self.file.exists():
            self._load(self.label, self.file)
        else:
            raise explain("kickstart", done)

    def _load(self, label: str, path: Path) -> None:
        """A bootstrap right after a bootout may find the old one still going."""
        call(["launchctl", "enable", f"{self._domain}/{label}"])
        for tried in range(1, _LOAD_TRIES + 1):
            done = call(["launchctl", "bootstrap", self._domain, str(path)])
            if done.ok:
                return
            if done.rc not in _BUSY or tried == _LOAD_TRIES:
                raise explain("bootstrap", done)
            self._unload(label)
            threading.Event().wait(0.2 * tried)

    def _unload(self, label: str) -> bool:
        """True when it was loaded; returns when launchd has let go of it."""
        target = f"{self._domain}/{label}"
        done = call(["launchctl", "bootout", target], limit_s=_UNLOAD_LIMIT_S)
        if done.rc in _ABSENT or "no such process" in done.out.lower():
            return False
        gone = _wait(lambda: not call(["launchctl", "print", target]).ok, _UNLOAD_LIMIT_S)
        if not gone:
            raise explain("bootout", done)
        return True


def read_print(text: str) -> State:
    """The few lines of `launchctl print` that have been stable; unknown ones stay unknown."""
    found = {key: value.strip() for key, value in reversed(_LINE.findall(text))}
    pid, starts = _number(found.get("pid")), _number(found.get("runs"))
    last = _number(found.get("last exit code"))
    if pid is not None or found.get("state") == "running":
        return State("running", pid, last, starts)
    if found.get("state") in ("spawn scheduled", "spawning"):
        return State("starting", None, last, starts, f"last exit code {last}")
    signalled = found.get("last terminating signal", "")
    failed = bool(last) or bool(signalled)
    return State("failed" if failed else "stopped", None, last, starts, signalled)


def _number(text: str | None) -> int | None:
    found = re.match(r"-?\d+", text or "")
    return int(found[0]) if found else None


def explain(what: str, done: Done) -> ClawdError:
    """launchctl's code and words as a sentence with a remedy."""
    said = done.out.lower()
    remedy = next((r for _, words, r in REMEDIES if words in said), None)
    remedy = remedy or next((r for codes, _, r in REMEDIES if done.rc in codes), None)
    message = f"`launchctl {what}` failed ({done.rc}): {done.said}"
    return ClawdError(message, remedy or "clawd service status --report shows what to look at.")


def _wait(condition: Any, limit_s: float) -> bool:
    patience, deadline = threading.Event(), monotonic() + limit_s
    while not condition():
        if monotonic() > deadline:
            return False
        patience.wait(0.1)
    return True
