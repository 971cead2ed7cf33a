"""What goes wrong in the simulated world: drawn from the seed, or given as a list."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from tests.sim.keeper import Keeper

if TYPE_CHECKING:
    from tests.sim.world import World

CHAOS_S = 1500.0
# They wait for the next intent, or (`edit_races`) for the next check, and strike there.
RACES = ("main_races", "cancel_races", "crash_landing", "edit_races")
FAULTS = (
    "daemon_kill", "daemon_away", "crash_at", "crash_at", "agent_kill", "agent_hang",
    "keeper_kill", "host_sleep", "db_down", "commit_lost", "answer_lost", "git_lock",
    "main_moves", "main_moves_red", "account_limit", "clock_jump", "settle_twice", "hint_lost",
    "send_lost", "kill_switch", "cage_broken", *RACES,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong at a time; what `number` means depends on the kind."""

    at: float
    kind: str
    number: int


def draw_faults(rng: Random) -> tuple[Fault, ...]:
    """The seed's own list, in the order of time."""
    kinds = [rng.choice(FAULTS) for _ in range(rng.randrange(2, 12))]
    drawn = [Fault(round(rng.uniform(1, CHAOS_S), 2), k, rng.randrange(1, 60)) for k in kinds]
    return tuple(sorted(drawn, key=lambda fault: (fault.at, fault.kind)))


class Nemesis:
    """Brings the faults about: one method a kind."""

    def __init__(self, world: World) -> None:
        self.world, self.store, self.rng = world, world.store, world.rng
        self.struck: Counter[str] = Counter()
        self.races: list[str] = []

    def strike(self, fault: Fault) -> None:
        self.struck[fault.kind] += 1
        if fault.kind in RACES:
            self.races.append(fault.kind)
        else:
            getattr(self, f"_{fault.kind}")(fault.number)

    def intent_written(self, task: int) -> None:
        """Between the intent and the swap: the moment that matters most."""
        race = next((race for race in self.races if race != "edit_races"), "")
        if race:
            self.races.remove(race)
        if race == "cancel_races":
            self.world.after(0.05, race, lambda: self.world.operator.cancel(task))
        elif race == "main_races":
            self.world.after(0.05, race, lambda: self._main_moves(0))
        elif race == "crash_landing":
            self.world.crash_in.insert(0, self.rng.choice((1, 2)))

    def check_begun(self, task: int) -> None:
        """The operator edits the contract while its candidate is checked under the old one."""
        if "edit_races" in self.races:
            self.races.remove("edit_races")
            edit = self.world.operator.edit
            self.world.after(1.0, "edit_races", lambda: edit(self.store.tasks[task]))

    def _host(self, number: int) -> str:
        hosts = self.store.settings.hosts
        return hosts[number % len(hosts)]

    def _victim(self, number: int) -> Keeper:
        """One of the living processes; a dummy when there is none."""
        living = [k for k in self.world.keepers.values() if k.alive]
        return living[number % len(living)] if living else Keeper(0, "dev", "home", "work", 0)

    def _daemon_kill(self, number: int) -> None:
        self.world.kill_daemon(self._host(number), self.rng.uniform(1, 200))

    def _daemon_away(self, number: int) -> None:
        """Long enough for its agents to end by themselves."""
        self.world.kill_daemon(self._host(number), self.rng.uniform(500, 900))

    def _crash_at(self, number: int) -> None:
        self.world.crash_in.append(number)

    def _agent_kill(self, number: int) -> None:
        victim = self._victim(number)
        victim.plan = "crash"
        victim.finish()

    def _agent_hang(self, number: int) -> None:
        self._victim(number).hanging = True

    def _keeper_kill(self, number: int) -> None:
        self._victim(number).end("lost", "the keeper died")

    def _host_sleep(self, number: int) -> None:
        """Stopped and continued: what it was about to write is stale when it wakes."""
        host, asleep = self.store.settings.hosts[-1], self.world.asleep
        asleep[host] = max(self.store.now + self.rng.uniform(60, 1500), asleep.get(host, 0.0))

    def _db_down(self, number: int) -> None:
        self.store.up = False
        self.world.after(self.rng.uniform(2, 240), "database is back", self._db_back)

    def _db_back(self) -> None:
        self.store.up = True

    def _commit_lost(self, number: int) -> None:
        self.store.lose_next = "before"

    def _answer_lost(self, number: int) -> None:
        """The transaction happened, the client was told that it did not."""
        self.store.lose_next = "after"

    def _git_lock(self, number: int) -> None:
        self.world.hub.locked_until = self.store.now + self.rng.uniform(5, 120)

    def _main_moves(self, number: int, bad: bool = False) -> None:
        self.world.hub.operator_commits(self.store.now, bad)
        self.world.after(self.rng.uniform(60, 400), "operator mends", self.mend)

    def _main_moves_red(self, number: int) -> None:
        self._main_moves(number, bad=True)

    def mend(self) -> None:
        """The operator mends a red main, until it is green."""
        hub = self.world.hub
        if hub.is_red(hub.commits[hub.main].tree):
            hub.operator_mends(self.store.now)
            self.world.after(30.0, "operator mends", self.mend)

    def _account_limit(self, number: int) -> None:
        self.world.limited_until = self.store.now + self.rng.uniform(60, 400)

    def _clock_jump(self, number: int) -> None:
        self.world.clock_off[self._host(number)] = self.rng.choice((-86_400.0, 86_400.0, 28_800.0))

    def _settle_twice(self, number: int) -> None:
        """A second worker settles the same run at the same moment."""
        victim = self._victim(number)
        daemon, run = self.world.daemons[victim.host], self.store.live.get(victim.run)
        if daemon.alive and run is not None:
            victim.finish()
            for _ in range(2):
                daemon.go("settle", daemon.settle(run), run.id)

    def _hint_lost(self, number: int) -> None:
        self.world.hints_lost += number

    def _send_lost(self, number: int) -> None:
        self.world.sends_lost += 1 + number % 3

    def _kill_switch(self, number: int) -> None:
        self.world.frozen = True
        self.world.after(self.rng.uniform(5, 120), "resume", self._thaw)

    def _thaw(self) -> None:
        self.world.frozen = False

    def _cage_broken(self, number: int) -> None:
        self.world.cage_until = self.store.now + 60
