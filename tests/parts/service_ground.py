"""Stand-ins for launchctl and systemctl: they keep a small state, record calls, play failures."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

# Bare on purpose: what launchd runs sees only what its file says.
LAUNCHCTL = """#!/bin/sh
"exec" "{python}" "$0" "$@"
import json, os, plistlib, signal, subprocess, sys
from pathlib import Path
place = Path({place!r})
verb, words = sys.argv[1], sys.argv[2:]
with (place / "calls").open("a") as calls:
    calls.write(" ".join(sys.argv[1:]) + "\\n")
played = place / f"play.{{verb}}"
lines = played.read_text().splitlines() if played.exists() else []
if lines:
    played.write_text("\\n".join(lines[1:]))
    code, _, text = lines[0].partition(" ")
    print(text)
    sys.exit(int(code))
label = words[-1].rpartition("/")[2].removesuffix(".plist")
state = place / f"{{label}}.json"
def job():
    return json.loads(state.read_text()) if state.exists() else None
def alive(pid):
    try:
        os.kill(pid, 0)
        with open(f"/proc/{{pid}}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
def launch(path, runs):
    told = plistlib.loads(Path(path).read_bytes())
    with open(told["StandardOutPath"], "ab") as log:
        child = subprocess.Popen(told["ProgramArguments"], env=told["EnvironmentVariables"],
            cwd=told["WorkingDirectory"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            umask=told["Umask"], start_new_session=True)
    state.write_text(json.dumps({{"path": path, "pid": child.pid, "runs": runs + 1}}))
def absent():
    print(f"Could not find service \\"{{label}}\\" in domain for user gui: 501")
    sys.exit(113)
known = job()
if verb == "bootstrap":
    if known:
        print("Bootstrap failed: 5: Input/output error")
        sys.exit(5)
    launch(words[1], 0)
elif verb == "bootout":
    if not known:
        print("Boot-out failed: 3: No such process")
        sys.exit(3)
    if alive(known["pid"]):
        os.kill(known["pid"], signal.SIGTERM)
    state.unlink()
elif verb == "kickstart":
    if not known:
        absent()
    if alive(known["pid"]) and "-k" in words:
        os.kill(known["pid"], signal.SIGKILL)
    if not alive(known["pid"]) or "-k" in words:
        launch(known["path"], known["runs"])
elif verb == "print":
    if not known:
        absent()
    pid = known["pid"]
    running = alive(pid)
    print(f"gui/501/{{label}} = {{{{")
    print("\\tactive count = 1")
    print(f"\\tstate = {{'running' if running else 'not running'}}")
    print(f"\\truns = {{known['runs']}}")
    if running:
        print(f"\\tpid = {{pid}}")
    print("\\tlast exit code = 0\\n\\tresource coalition = {{\\n\\t\\tstate = active\\n\\t}}\\n}}")
"""

# Answers what it is told to; by default everything works and nothing is running.
SYSTEMCTL = """#!/bin/sh
"exec" "{python}" "$0" "$@"
import sys
from pathlib import Path
place = Path({place!r})
words = [word for word in sys.argv[1:] if word != "--user"]
with (place / "calls").open("a") as calls:
    calls.write(" ".join(words) + "\\n")
played = place / f"play.{{words[0]}}"
lines = played.read_text().splitlines() if played.exists() else []
if lines:
    played.write_text("\\n".join(lines[1:]))
    code, _, text = lines[0].partition(" ")
    print(text)
    sys.exit(int(code))
if words[0] == "show":
    answer = place / "show"
    print(answer.read_text() if answer.exists() else "252")
"""


@dataclass
class StandIn:
    """A folder in front of PATH with one stand-in, and what it was asked."""

    place: Path

    @property
    def calls(self) -> list[str]:
        """Every call so far, one line each."""
        path = self.place / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def forget(self) -> None:
        (self.place / "calls").unlink(missing_ok=True)

    def play(self, verb: str, *answers: str) -> None:
        """The next calls of `verb` answer `CODE TEXT`, one each."""
        (self.place / f"play.{verb}").write_text("\n".join(answers))

    def end(self) -> None:
        """Ends what a stand-in started."""
        import json

        for state in self.place.glob("*.json"):
            pid = json.loads(state.read_text())["pid"]
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def stand_in(name: str, text: str, folder: Path, patch: pytest.MonkeyPatch) -> StandIn:
    """Puts it first in PATH, and the person's home into `folder`."""
    place = folder / "stand in"
    place.mkdir()
    program = place / name
    program.write_text(text.format(python=sys.executable, place=str(place)))
    program.chmod(0o755)
    patch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")
    patch.setenv("HOME", str(folder))
    patch.delenv("XDG_CONFIG_HOME", raising=False)
    return StandIn(place)
