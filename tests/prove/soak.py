"""Kills daemons, agents, keepers and databases at random while tasks keep coming."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from subprocess import Popen
from typing import Any

import psutil
import psycopg

from clawd.adapters import process, server
from clawd.errors import ClawdError
from tests.prove import ground
from tests.whole.line import Line

VICTIMS = {"daemon": 34, "agent": 24, "keeper": 14, "backend": 16, "postgres": 12}
SPECS = ("", "", "", "[behave: sleep 1]", "[behave: revise]", "[behave: write notes/shared.md {n}]")
SLOW_S = 6.0  # a first claim after this is shown with what the daemon said
UNDER_WAY = 14  # open tasks at any time: enough that something is always ready
# Something that an idle agent could take right now.
_WORK_WAITS = """
  select from task t left join candidate c on c.id = t.candidate
  where t.leased_by_run is null and t.deps_open = 0 and coalesce(t.not_before <= clawd_now(), true)
    and not exists (select from pause where until is null or until > clawd_now())
    and not exists (select from breaker where state <> 'closed' and scope <> 'agent')
    and exists (select from agent a where a.state = 'active' and a.live_run is null
      and a.role = case t.state when 'backlog' then 'dev' else 'qa' end
      and not exists (select from breaker b where b.state <> 'closed' and b.key = a.name))
    and (t.state = 'backlog' or (t.state = 'review' and c.check_state = 'green')) limit 1"""
_OPEN = """select from task where state not in
  ('done', 'cancelled', 'rolled_back', 'parked', 'waiting')"""


@dataclass
class Soak:
    """One soak over a line with an embedded server of its own."""

    line: Line
    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    first_claims_s: list[float] = field(default_factory=list)
    added: int = 0
    _daemon: Popen[bytes] | None = None
    _began: float = 0.0
    _claims_before: int | None = None
    _waits_since: float | None = None

    def run(self, lasts_s: float, every_s: float) -> None:
        """Kills for so long, then lets it come to rest."""
        rng = random.Random(self.seed)
        end = time.monotonic() + lasts_s
        next_kill = time.monotonic() + 2
        try:
            while time.monotonic() < end:
                self._keep_up()
                self._measure()
                if time.monotonic() >= next_kill and self._kill(rng):
                    next_kill = time.monotonic() + rng.uniform(0.3, 1.7) * every_s
                time.sleep(0.05)
            self._rest()
        finally:
            if self._daemon is not None:
                ground.end(self.line, self._daemon)

    def _keep_up(self) -> None:
        """A service starts the daemon again; the operator always has more work."""
        if self._daemon is None or self._daemon.poll() is not None:
            calm(server.ensure_running, self.line.home)
            self._claims_before = calm(self._claims)
            self._began, self._waits_since = time.monotonic(), None
            self._daemon = ground.start(self.line, CLAWD_DATABASE_URL="")
        under_way = calm(self.line.rows, _OPEN)
        if under_way is not None and len(under_way) < UNDER_WAY:
            spec = SPECS[self.added % len(SPECS)].format(n=self.added)
            if calm(self.line.add, f"Soak {self.added}", spec) is not None:
                self.added += 1

    def _claims(self) -> int:
        found = self.line.rows("select count(*) as n from history where event = 'claim'")
        return int(found[0]["n"])

    def _measure(self) -> None:
        """From the start of a daemon's process, with something to claim, to its first claim."""
        if self._claims_before is None:
            return
        if self._waits_since is None and calm(self.line.rows, _WORK_WAITS):
            self._waits_since = time.monotonic()
        now = calm(self._claims)
        if now is not None and now > self._claims_before:
            since = max(self._began, self._waits_since or self._began)
            self.first_claims_s.append(time.monotonic() - since)
            self._claims_before = None
            if self.first_claims_s[-1] > SLOW_S:
                print(f"slow: {self.first_claims_s[-1]:.1f} s\n{_last_said(self.line)}")

    def _kill(self, rng: random.Random) -> bool:
        names = list(VICTIMS)
        name = rng.choices(names, [VICTIMS[n] for n in names])[0]
        victims: list[int] = {
            "daemon": self._daemons, "agent": self._agents, "keeper": self._keepers,
            "backend": self._backends, "postgres": self._postmaster,
        }[name]()  # fmt: skip
        if not victims:
            return False
        if name == "daemon" and self._claims_before is not None:
            self._claims_before = None  # killed before it could claim: nothing is measured
        try:
            os.kill(rng.choice(sorted(victims)), signal.SIGKILL)
        except ProcessLookupError:
            return False
        if name == "daemon" and self._daemon is not None:
            self._daemon.wait(10)
        self.kills[name] += 1
        return True

    def _daemons(self) -> list[int]:
        return [self._daemon.pid] if self._daemon and self._daemon.poll() is None else []

    def _agents(self) -> list[int]:
        return list(process.find_marked(self.line.desk.mark))

    def _keepers(self) -> list[int]:
        return ground.keepers(self.line)

    def _postmaster(self) -> list[int]:
        pid = server.status(self.line.home).pid
        return [pid] if pid else []

    def _backends(self) -> list[int]:
        try:
            found = [psutil.Process(pid).children() for pid in self._postmaster()]
        except psutil.Error:
            return []
        return [each.pid for children in found for each in children]

    def _rest(self) -> None:
        """No more kills: everything comes to its end."""
        deadline = time.monotonic() + 180
        while not calm(ground.is_quiet, self.line):
            assert time.monotonic() < deadline, calm(ground._stuck, self.line)
            if self._daemon is None or self._daemon.poll() is not None:
                self._daemon = ground.start(self.line, CLAWD_DATABASE_URL="")
            calm(ground.spare_waits, self.line)
            time.sleep(0.2)


def _last_said(line: Line) -> str:
    """The end of the daemon's own log: what a slow start waited for."""
    log = line.home / "logs" / "clawd.log"
    return "\n".join(log.read_text("utf-8", "replace").splitlines()[-12:])


def calm(what: Callable[..., Any], *arguments: Any) -> Any:
    """None while the database is away or on its way back."""
    try:
        return what(*arguments)
    except (psycopg.Error, ClawdError):
        return None


def p99(times_s: list[float]) -> float:
    """The time that 99 of 100 do not pass."""
    ordered = sorted(times_s)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] if ordered else 0.0
