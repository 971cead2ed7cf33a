"""clawd as a service: started at login, started again after a crash, stopped when told so."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from clawd import daemon
from clawd.doctor.finding import Finding
from clawd.errors import ClawdError, NotRunning, Refused
from clawd.service import journal, login
from clawd.service.launchd import Launchd
from clawd.service.order import check, order_for
from clawd.service.state import Manager, State
from clawd.service.systemd import Systemd

__all__ = ["Status", "find", "install", "look_inside", "restart", "start", "status", "uninstall"]

Say = Callable[[str], None]
_UP_LIMIT_S = 120.0
_STOP_LIMIT_S = 60.0
_LEAVE_LIMIT_S = 10.0
_BELIEVED_AFTER_S = 3.0  # right after a start launchd still tells how the last one ended


@dataclass(frozen=True, slots=True)
class Status:
    """How the service of a home is; `daemon` is the daemon's process, however it was started."""

    manager: str
    name: str
    file: str
    installed: bool
    state: str
    pid: int | None
    daemon: int | None
    last_exit: int | None
    starts: int | None
    detail: str
    advice: list[str]


def _silent(_line: str) -> None:
    return


def find(home: Path, platform: str = sys.platform) -> Manager:
    """The service manager of this machine; refuses in one sentence where there is none."""
    order = order_for(home, os.environ, platform=platform)
    if platform == "darwin":
        return Launchd(order)
    if platform.startswith("linux"):
        return Systemd(order)
    raise Refused(f"clawd knows no service manager for {platform}.", "Use `clawd up`.")


def installed(home: Path, platform: str = sys.platform) -> Manager | None:
    """The manager when this home is its service, else None; never raises."""
    try:
        manager = find(home, platform)
    except ClawdError:
        return None
    return manager if manager.file.exists() else None


def install(home: Path, say: Say = _silent, platform: str = sys.platform) -> Status:
    """Makes the home a service and starts it; a daemon started by hand hands its runs over."""
    if not home.is_dir():
        raise NotRunning(f"There is no clawd at {home} yet.", "Set it up: clawd init PATH")
    manager = find(home, platform)
    check(manager.order)
    manager.order.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    journal.trim(manager.order.log)
    if daemon.stop(home, _STOP_LIMIT_S, end_runs=False):
        say("The daemon hands over to the service; live runs go on.")
    notes = manager.install()
    _wait_until_up(home, manager)
    say(f"clawd is a service now: {manager.file}")
    for note in notes:
        say(note)
    return status(home, platform)


def uninstall(home: Path, say: Say = _silent, platform: str = sys.platform) -> bool:
    """Ends service, daemon and runs; tasks go back to the queue. False when there was none."""
    manager = find(home, platform)
    if manager.file.exists():
        daemon.stop(home, _STOP_LIMIT_S, end_runs=True)
    found = manager.uninstall()
    say("clawd is no service any more." if found else "clawd was no service.")
    return found


def start(home: Path, platform: str = sys.platform) -> bool:
    """Starts the daemon as the service it is installed as; False when it is none."""
    manager = installed(home, platform)
    if manager is None:
        return False
    journal.trim(manager.order.log)
    _wait_until_gone(home, manager)
    manager.start()
    _wait_until_up(home, manager)
    return True


def restart(home: Path, platform: str = sys.platform) -> bool:
    """An ordered stop, then the manager's own start; live runs go on. False when it is none."""
    manager = installed(home, platform)
    if manager is None:
        return False
    journal.trim(manager.order.log)
    with contextlib.suppress(NotRunning):  # one that does not answer is ended the hard way
        daemon.stop(home, _STOP_LIMIT_S, end_runs=False)
    manager.restart()
    _wait_until_up(home, manager)
    return True


def status(home: Path, platform: str = sys.platform) -> Status:
    """How it is; a machine without a service manager is an answer too."""
    running = daemon.is_running(home)
    try:
        manager = find(home, platform)
    except ClawdError as error:
        advice = [f"{error.message} {error.remedy}"]
        return Status("none", "", "", False, "absent", None, running, None, None, "", advice)
    found = manager.state()
    return Status(
        manager.kind, manager.order.name, str(manager.file), manager.file.exists(), found.state,
        found.pid, running, found.last_exit, found.starts, found.detail,
        _advice(manager, found, running),
    )  # fmt: skip


def _advice(manager: Manager, found: State, running: int | None) -> list[str]:
    if not manager.file.exists():
        return ["Make it a service: clawd service install"]
    told = []
    python = manager.installed_python()
    if python is not None and not Path(python).exists():
        told.append(f"{python} is gone. Write it anew: clawd service install")
    elif python is not None and python != manager.order.python:
        told.append(f"It runs {python}, this is {manager.order.python}: clawd service install")
    if running is not None and found.pid is not None and running != found.pid:
        told.append(f"Process {running} holds the home, not the service: clawd service restart")
    elif running is not None and found.pid is None and found.state != "starting":
        told.append("The daemon was started by hand. Hand it over: clawd service restart")
    if found.state == "failed":
        told.append("Why it ended: clawd service logs")
    if found.state in ("stopped", "absent") and running is None:
        told.append("Start it: clawd service restart")
    return told


def look_inside(home: Path, *, probe: bool, platform: str = sys.platform) -> list[Finding]:
    """What the daemon would find of its login, asked where it runs."""
    return login.inside(find(home, platform), probe=probe)


def _wait_until_gone(home: Path, manager: Manager) -> None:
    """A daemon that just let go of the home may not have left yet: a start would be for nothing."""
    patience, begun = threading.Event(), monotonic()
    while daemon.is_running(home) is None and manager.state().pid is not None:
        if monotonic() - begun > _LEAVE_LIMIT_S:
            return
        patience.wait(0.1)


def _wait_until_up(home: Path, manager: Manager) -> None:
    """Until the daemon holds the home; what kept it from that is in its last words."""
    patience, begun = threading.Event(), monotonic()
    while daemon.is_running(home) is None or not (home / "daemon.beat").exists():
        found, waited_s = manager.state(), monotonic() - begun
        ended = found.state in ("failed", "stopped", "absent") and waited_s > _BELIEVED_AFTER_S
        if ended or waited_s > _UP_LIMIT_S:
            said = " ".join(journal.last_words(manager.order.log)) or found.detail
            raise ClawdError(
                f"The service is {found.state}: {said[-600:]}", "See more: clawd service logs"
            )
        patience.wait(0.2)
