"""The user units on Linux: one for the daemon, one for its database."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
from functools import cached_property
from pathlib import Path

from clawd import share
from clawd.errors import ClawdError, Refused
from clawd.service import journal
from clawd.service.calling import Done, call
from clawd.service.order import Order
from clawd.service.state import State, write_file

BOOTED = Path("/run/systemd/system")
_BACKOFF_SINCE = 254  # RestartSteps
_START_LIMIT_S = 330.0  # TimeoutStartSec and a little
_SHOWN = "LoadState,ActiveState,SubState,Result,MainPID,NRestarts,ExecMainStatus,StatusText"
_RUN_HOOK = "Where a container runs clawd, let the container itself start it: clawd up --foreground"
_NO_BUS = (
    "Log in as this person directly (ssh or console, not su or sudo), or once: "
    "`sudo loginctl enable-linger {user}`, then `export XDG_RUNTIME_DIR=/run/user/{uid}`."
)


class Systemd:
    """The units of one home under the person's own manager."""

    kind = "systemd"

    def __init__(self, order: Order) -> None:
        self.order = order
        if shutil.which("systemctl") is None or not BOOTED.exists():
            raise Refused(
                "No systemd runs on this machine, so there is nothing to install a service in.",
                _RUN_HOOK,
            )
        self._environ = dict(os.environ)
        self._environ.setdefault("XDG_RUNTIME_DIR", f"/run/user/{os.geteuid()}")

    @property
    def file(self) -> Path:
        return self._folder / f"{self.order.name}.service"

    @property
    def _database_file(self) -> Path:
        return self._folder / f"{self.order.name}-postgres.service"

    @cached_property
    def _folder(self) -> Path:
        """Where the manager itself looks: what this shell calls XDG_CONFIG_HOME it may not know."""
        chosen = os.environ.get("XDG_CONFIG_HOME", "")
        usual = Path.home() / ".config"
        looked_at = self._call("show", "--property=UnitPath", "--value").out.split()
        for base in [Path(chosen), usual] if os.path.isabs(chosen) else [usual]:
            if str(base / "systemd" / "user") in looked_at:
                return base / "systemd" / "user"
        return usual / "systemd" / "user"

    def units(self, version: int = 0) -> dict[Path, str]:
        """Every unit file and its text; an operator's own Postgres needs no unit of ours."""
        order, wanted = self.order, ""
        found = {}
        if order.keeps_database:
            name = self._database_file.name
            wanted = f"Wants={name}\nAfter={name}\n"
            found[self._database_file] = _filled(
                "clawd-postgres", order, order.database, BACKOFF=_backoff(version)
            )
        found[self.file] = _filled(
            "clawd", order, order.daemon,
            DATABASE=wanted, NAME=order.name, BACKOFF=_backoff(version),
        )  # fmt: skip
        return found

    def install(self) -> list[str]:
        """Writes the units, starts them now and at every login."""
        self._require_bus()
        units = self.units(self._version())
        for path, text in units.items():
            write_file(path, text.encode())
        if self._database_file not in units:
            self._forget(self._database_file)
        self._must("daemon-reload")
        self._must("enable", self.file.name)
        self._must("restart", self.file.name, limit_s=_START_LIMIT_S)
        return self._advice()

    def uninstall(self) -> bool:
        """Both units stopped and off the disk."""
        found = [path for path in (self.file, self._database_file) if path.exists()]
        if not found:
            return False
        self._require_bus()
        self._call("disable", "--now", *(path.name for path in found), limit_s=_START_LIMIT_S)
        for path in found:
            path.unlink(missing_ok=True)
        self._must("daemon-reload")
        self._call("reset-failed", *(path.name for path in found))
        return True

    def start(self) -> None:
        """Starts the daemon's unit, which wants the database's."""
        self._must("start", self.file.name, limit_s=_START_LIMIT_S)

    def restart(self) -> None:
        """Stops the daemon alone: KillMode=process leaves runs and database be."""
        self._must("restart", self.file.name, limit_s=_START_LIMIT_S)

    def state(self) -> State:
        """What `systemctl show` says."""
        done = self._call("show", self.file.name, f"--property={_SHOWN}")
        if not done.ok:
            return State("absent", detail=done.said)
        return read_show(done.out, installed=self.file.exists())

    def look(self, *, probe: bool, limit_s: float) -> None:
        """A unit for a moment, with the environment of the daemon's."""
        path = self._folder / f"{self.order.name}-look.service"
        self._require_bus()
        command = self.order.look(probe=probe)
        text = _filled("clawd-probe", self.order, command, LIMIT=str(int(limit_s)))
        write_file(path, text.encode())
        try:
            self._must("daemon-reload")
            self._call("start", path.name, limit_s=limit_s + 30)
        finally:
            self._forget(path)

    def installed_python(self) -> str | None:
        """Read back from the file."""
        try:
            found = re.search(r"^ExecStart=(.+)$", self.file.read_text("utf-8"), re.M)
        except (OSError, UnicodeDecodeError):
            return None
        words = shlex.split(found[1]) if found else []
        return words[0].replace("%%", "%") if words else None

    def _forget(self, path: Path) -> None:
        if path.exists():
            self._call("disable", "--now", path.name, limit_s=_START_LIMIT_S)
            path.unlink(missing_ok=True)
            self._call("daemon-reload")
            self._call("reset-failed", path.name)

    def _call(self, *words: str, limit_s: float = 60.0) -> Done:
        return call(["systemctl", "--user", *words], environ=self._environ, limit_s=limit_s)

    def _must(self, *words: str, limit_s: float = 60.0) -> Done:
        done = self._call(*words, limit_s=limit_s)
        if not done.ok:
            raise explain(" ".join(words), done, self.order)
        return done

    def _require_bus(self) -> None:
        self._must("show", "--property=Version")

    def _version(self) -> int:
        found = re.search(r"\d+", self._call("show", "--property=Version", "--value").out)
        return int(found[0]) if found else 0

    def _advice(self) -> list[str]:
        """Without lingering a person's services end with their last session."""
        user = self.order.environment["USER"]
        if shutil.which("loginctl") is None:
            return []
        asked = call(
            ["loginctl", "show-user", user, "--property=Linger", "--value"], environ=self._environ
        )
        if asked.ok and asked.out.strip() == "yes":
            return []
        return [
            f"It ends when you log out. To keep it for good: sudo loginctl enable-linger {user}"
        ]


def _filled(template: str, order: Order, command: list[str], **more: str) -> str:
    text = share.path(f"systemd/{template}.service").read_text("utf-8")
    lines = [f"Environment={quote(f'{k}={v}')}" for k, v in sorted(order.environment.items())]
    values = {
        "EXEC": " ".join([quote(command[0]), *(quote(w.replace("$", "$$")) for w in command[1:])]),
        "HOME": _plain(str(order.home)),
        "LOG": _plain(str(order.log)),
        "ENVIRONMENT": "\n".join(lines),
        **more,
    }
    return re.sub(r"@([A-Z]+)@", lambda found: values[found[1]], text)


def _plain(text: str) -> str:
    """A path that stands alone after its key: only specifiers need care."""
    return text.replace("%", "%%")


def quote(word: str) -> str:
    """One word of a unit file; percent signs would be specifiers."""
    safe = word.replace("%", "%%")
    if re.fullmatch(r"[A-Za-z0-9_./:=@%+,-]+", safe):
        return safe
    return '"' + safe.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _backoff(version: int) -> str:
    """Newer managers wait longer each time; older ones always the same."""
    if version >= _BACKOFF_SINCE:
        return "RestartSec=2\nRestartSteps=8\nRestartMaxDelaySec=300"
    return "RestartSec=5"


def read_show(text: str, *, installed: bool) -> State:
    """The lines of `systemctl show` in our words."""
    found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    if not installed or found.get("LoadState") in ("not-found", "masked"):
        return State("absent", detail="not installed" if not installed else "not loaded")
    states = {"active": "running", "activating": "starting", "reloading": "running"}
    states |= {"deactivating": "stopped", "inactive": "stopped", "failed": "failed"}
    state = states.get(found.get("ActiveState", ""), "stopped")
    result, status = found.get("Result", ""), found.get("StatusText", "")
    again = found.get("SubState") == "auto-restart"
    return State(
        state,
        _positive(found.get("MainPID")),
        int(found.get("ExecMainStatus") or 0),
        int(found.get("NRestarts") or 0),
        f"{result}; tried again soon" if again else status if result == "success" else result,
    )


def _positive(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() and int(text) else None


def explain(what: str, done: Done, order: Order) -> ClawdError:
    """systemctl's words as a sentence with a remedy."""
    if "connect to bus" in done.out or "No medium found" in done.out:
        person = pwd.getpwuid(os.geteuid())
        return Refused(
            "Your own systemd (systemctl --user) does not answer.",
            _NO_BUS.format(user=person.pw_name, uid=person.pw_uid),
        )
    words = " ".join(journal.last_words(order.log, 3))[-600:]
    said = f"{done.said} Its last words: {words}" if words else done.said
    remedy = f"clawd service logs says more; so does systemctl --user status {order.name}.service"
    return ClawdError(f"`systemctl --user {what}` failed ({done.rc}): {said}", remedy)
