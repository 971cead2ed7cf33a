"""The check-list to paste back: what only this machine can show, looked at one by one."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from clawd import __version__, service
from clawd.adapters import awake
from clawd.adapters.credential import API_KEY, OAUTH
from clawd.doctor.finding import Finding
from clawd.errors import ClawdError
from clawd.service import journal
from clawd.service.calling import call

_SECRET = re.compile(rf"sk-ant-[\w-]+|(?<={OAUTH}=)\S+|(?<={API_KEY}=)\S+|(?<=://)[^@/\s]+(?=@)")
_LOG_LINES = 15


def report(home: Path, *, probe: bool) -> str:
    """Plain text without secrets: the machine, the service, the look from inside, last lines."""
    parts = [("machine", _machine), ("service", lambda: _service(home))]
    parts += [
        ("from inside the service", lambda: _inside(home, probe)),
        ("file", lambda: _file(home)),
    ]
    parts += [("manager", lambda: _manager(home)), ("sleep", _sleep), ("logs", lambda: _logs(home))]
    lines = ["clawd service status --report (paste everything from here)"]
    for title, look in parts:
        lines += ["", f"== {title}", *_safely(look)]
    text = "\n".join(lines)
    return _SECRET.sub("***", text.replace(str(Path.home()), "~"))


def _safely(look: Callable[[], Iterator[str]]) -> list[str]:
    lines: list[str] = []
    try:
        lines.extend(look())
    except ClawdError as error:
        lines.append(f"!! {error}")
    except Exception as error:
        lines.append(f"!! {type(error).__name__}: {' '.join(str(error).split())[:300]}")
    return lines


def _machine() -> Iterator[str]:
    version = platform.mac_ver()[0] or platform.release()
    yield f"{platform.system()} {version} {platform.machine()}"
    yield f"clawd {__version__}, Python {platform.python_version()} at {sys.executable}"
    remote = "yes" if os.environ.get("SSH_CONNECTION") else "no"
    yield f"over ssh: {remote}; uid {os.getuid()}; limit of files: {_file_limit()}"


def _file_limit() -> int:
    import resource  # noqa: PLC0415 - seldom needed

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _service(home: Path) -> Iterator[str]:
    found = service.status(home)
    yield f"{found.manager} {found.name}: {found.state}, pid {found.pid}, daemon {found.daemon}"
    yield f"starts {found.starts}, last exit {found.last_exit}, {found.detail or 'no detail'}"
    yield from found.advice


def _inside(home: Path, probe: bool) -> Iterator[str]:
    for one in service.look_inside(home, probe=probe):
        yield shown(one)


def shown(one: Finding) -> str:
    """A finding on one line."""
    mark = {True: "ok", False: "!!", None: "--"}[one.ok]
    return f"{mark} {one.name}: {one.detail}" + (f" -> {one.remedy}" if one.remedy else "")


def _file(home: Path) -> Iterator[str]:
    path = service.find(home).file
    yield from path.read_text("utf-8", "replace").splitlines() if path.exists() else ["none"]


def _manager(home: Path) -> Iterator[str]:
    manager = service.find(home)
    if manager.kind == "launchd":
        target = f"gui/{os.getuid()}/{manager.order.name}.daemon"
        said = call(["launchctl", "print", target])
        wanted = re.compile(r"^\t?(\t\S+ => |[\w ]+ = )")
        yield f"launchctl print: {said.rc}"
        yield from (line for line in said.out.splitlines()[:120] if wanted.match(line))
        yield from call(["launchctl", "managername"]).out.splitlines()
        return
    yield from call(["systemctl", "--version"]).out.splitlines()[:1]
    units = [manager.file.name, f"{manager.order.name}-postgres.service"]
    shown_units = call(["systemctl", "--user", "status", "--no-pager", "-n", "0", *units])
    yield from shown_units.out.splitlines()[:40]


def _sleep() -> Iterator[str]:
    command = awake.command(os.getpid())
    yield f"held off while agents work by: {command[0] if command else 'nothing here'}"
    if sys.platform == "darwin" and shutil.which("pmset"):
        said = call(["pmset", "-g", "assertions"]).out.splitlines()
        yield from (line for line in said if "caffeinate" in line)


def _logs(home: Path) -> Iterator[str]:
    yield from journal.last_words(home / "logs" / "service.log", _LOG_LINES)
    for line in journal.last(home / "logs", _LOG_LINES):
        yield journal.sentence(line)[:300]
