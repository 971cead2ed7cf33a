"""Odd behaviours for tests, chosen by words in a task's spec: `[behave: NAME ARGUMENTS]`.

The words of a task reach dev and QA; those of a roadmap item reach PM, planner and its tasks.
`[behave ROLE: NAME]` (dev, qa, planner, pm) picks who behaves so; without a role it is the role in
the table. `first N` at the end means: only while context-snapshot.json shows fewer than N setbacks
(failures, revise rounds, a conflict; for a planner, a refused plan), so N is nearly always 1.

dev, before the work:
  sleep S            takes S seconds more                   cost USD    claims that cost in the end
  huge               odd lines first: 3 MB, invalid UTF-8, NUL, unknown types; then works as usual
  touch PATH         commits an empty file there too        write PATH TEXT    or one with that text
  orphan             leaves three children (nohup, setsid, empty environment); .clawd/orphans.txt
  red                commits tests/test_red_*.py that fails (unittest)
dev, instead of the work:
  lie                claims everything is done; nothing is
  no-change          says that main does it already, with the acceptance as proof
  ask                asks once, then works                  dirty       works, commits nothing
  crash              kill -9 to itself in the middle of a line
  hang [deaf]        says its init line, then nothing more; deaf ignores SIGTERM
  mute               not even an init line                  chatter     talks for ever
  torn               ends with half a line and no result, exit code 0
  limit EPOCH        rate limit until EPOCH (works as usual after it)
  overloaded         an API error 529                       not-logged-in
qa:
  bad-verdict        an answer of the wrong shape           no-verdict  none at all
  revise [N]         asks for more in the first N (1) rounds, then reviews as usual
planner:
  plan-cycle  plan-empty  plan-no-acceptance  plan-outside  plan-too-big  plan-question  bad-plan
pm:
  pm-ask             asks the operator about the item       bad-goals   wrong shape
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import NoReturn

from agentlib.session import Session
from agentlib.stream import Stream

MARK = re.compile(r"\[behave(?:\s+(dev|qa|planner|pm))?:\s*([a-z-]+)\s*([^\]]*)\]", re.IGNORECASE)
FIRST = re.compile(r"\s*\bfirst\s+(\d+)\s*$")
QA_NAMES = {"bad-verdict", "no-verdict", "revise"}
PM_NAMES = {"pm-ask", "bad-goals"}
ORPHAN_SECONDS = 900


@dataclass
class Behaviour:
    """One marked behaviour: its name and what follows it."""

    name: str
    words: str

    def number(self, default: float) -> float:
        """The first word as a number."""
        try:
            return float(self.words.split()[0])
        except (IndexError, ValueError):
            return default


def behaviours(text: str, role: str, setbacks: int) -> list[Behaviour]:
    """What the text wants of this role after so many setbacks, in the order written."""
    found = []
    for for_role, name, words in MARK.findall(text):
        each = Behaviour(name.lower(), FIRST.sub("", words).strip())
        first = FIRST.search(words)
        lapsed = first is not None and setbacks >= int(first[1])
        if (for_role.lower() or _home_of(each.name)) == role and not lapsed:
            found.append(each)
    return found


def _home_of(name: str) -> str:
    if name in QA_NAMES:
        return "qa"
    if name in PM_NAMES:
        return "pm"
    return "planner" if name.startswith("plan-") or name == "bad-plan" else "dev"


def before_init(wanted: list[Behaviour]) -> None:
    """What must happen before the first line."""
    if any(each.name == "mute" for each in wanted):
        _wait_for_ever()


def after_init(session: Session, wanted: list[Behaviour]) -> None:
    """The endings and additions every role can have."""
    for each in wanted:
        action = ANY_ROLE.get(each.name)
        if action is not None:
            action(session, each)


def _sleep(_session: Session, each: Behaviour) -> None:
    time.sleep(each.number(1.0))


def _cost(session: Session, each: Behaviour) -> None:
    session.stream.claimed_usd = each.number(0.0)


def _crash(session: Session, _each: Behaviour) -> NoReturn:
    session.stream.say("Starting with the work.")
    session.stream.call("Bash", {"command": "echo half way"})
    session.stream.emit_bytes(b'{"type":"assistant","message":{"content":[{"type":"te')
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def _hang(_session: Session, each: Behaviour) -> NoReturn:
    if "deaf" in each.words:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _wait_for_ever()


def _chatter(session: Session, _each: Behaviour) -> NoReturn:
    while True:
        session.stream.say("Still thinking about it.")
        time.sleep(0.2)


def _torn(session: Session, _each: Behaviour) -> NoReturn:
    session.stream.emit_bytes(b'{"type":"result","subtype":"succ')
    os._exit(0)


def _limit(session: Session, each: Behaviour) -> None:
    until = int(each.number(0))
    if time.time() >= until:
        return
    info = {"status": "rejected", "resetsAt": until, "rateLimitType": "five_hour"}
    session.stream.emit({"type": "rate_limit_event", "rate_limit_info": info})
    session.stream.fail("You've hit your 5-hour limit", "rate_limit", api_error_status=429)


def _overloaded(session: Session, _each: Behaviour) -> NoReturn:
    session.stream.fail("Repeated 529 Overloaded errors", "server_error", api_error_status=529)


def _not_logged_in(session: Session, _each: Behaviour) -> NoReturn:
    session.stream.fail("Not logged in · Please run /login", "authentication_failed")


def _huge(session: Session, _each: Behaviour) -> None:
    stream: Stream = session.stream
    stream.emit_bytes(b"this is no JSON\n\n[1, 2]\n")
    stream.emit_bytes(b'{"type":"assistant","message":{"content":"\xff\xfe\xc3("}}\n')
    stream.emit_bytes(b'{"type":"user\x00","message":"\\u0000 \\ud800"}\n')
    stream.emit({"type": "weather", "subtype": "cloudy", "payload": {"deep": [[[[]]]]}})
    call = stream.call("Bash", {"command": "a long listing"})
    stream.answer(call, "long\x00line " * 350_000)


def _orphan(_session: Session, _each: Behaviour) -> None:
    sleep = f"sleep {ORPHAN_SECONDS}"
    script = (
        f"nohup {sleep} >/dev/null 2>&1 & echo $! >> .clawd/orphans.txt\n"
        f"(trap '' HUP TERM; exec {sleep}) >/dev/null 2>&1 & echo $! >> .clawd/orphans.txt\n"
        f"env -i /bin/sh -c 'exec {sleep}' >/dev/null 2>&1 & echo $! >> .clawd/orphans.txt\n"
    )
    os.makedirs(".clawd", exist_ok=True)
    subprocess.run(["/bin/sh", "-c", script], start_new_session=True, check=True)


def _wait_for_ever() -> NoReturn:
    while True:
        time.sleep(3600)


ANY_ROLE = {
    "sleep": _sleep,
    "cost": _cost,
    "crash": _crash,
    "hang": _hang,
    "chatter": _chatter,
    "torn": _torn,
    "limit": _limit,
    "overloaded": _overloaded,
    "not-logged-in": _not_logged_in,
    "huge": _huge,
    "orphan": _orphan,
}
