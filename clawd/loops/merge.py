"""Keeps main judged, runs the train, proves what landed, ticks what is done."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from time import monotonic

from clawd.loops.apart import Apart
from clawd.model import Project
from clawd.pipeline import baseline, lost, patrol, takeover, undo, verify
from clawd.pipeline.desk import IDLE_S, Desk
from clawd.pipeline.train import Train
from clawd.store import landings, projects, tasks

REFILL_AFTER_S = 0.4
FOLLOW_AGAIN_S = 30.0
LOOK_AGAIN_S = 60.0
_NONE = ("", None)
# Who moves main: one host at a time, for so long after its last sign.
DUTY = timedelta(seconds=60)


class Merge:
    """Keeps main judged, runs the train, proves what landed, ticks what is done."""

    def __init__(self, desk: Desk, wake: Callable[[], None]) -> None:
        self._desk = desk
        self._train = Train(desk, wake)
        self._apart = Apart(desk, "merge")
        # Which hub it was and where main stood: whatever changed it otherwise is looked at.
        self._hubs: dict[int, tuple[str, str | None]] = {}
        self._look_at: dict[int, float] = {}
        self._patrol_at: dict[int, float] = {}
        self._refresh_at: dict[int, float] = {}
        self._refill_at: dict[int, float] = {}
        self._follow_at: dict[int, float] = {}

    def close(self) -> None:
        """Ends the tests under way."""
        self._train.close()

    def _next_patrol(self) -> float:
        return monotonic() + 60 * self._desk.config.train.retest_minutes

    def tick(self) -> float:
        """One step of every project's train."""
        again = False
        with self._desk.db() as db:
            epoch = projects.take_duty(db, "train", self._desk.host, DUTY)
            cared_for = projects.active(db)
        if epoch is None:
            return IDLE_S  # another host moves main, until it falls silent
        self._desk.epoch = epoch
        for project in cared_for:
            if self._desk.stop.is_set():
                break
            again = bool(self._apart.turn(project, partial(self._turn, project))) or again
        if again:
            return 0.0
        due = [
            at[p.id] for p in cared_for for at in (self._refresh_at, self._refill_at) if p.id in at
        ]
        due_s = max(min(due) - monotonic(), 0.2) if due else IDLE_S
        return min(due_s, self._apart.wait_s())

    def _turn(self, project: Project) -> bool:
        desk = self._desk
        current = self._compared(project)
        if monotonic() >= self._patrol_at.setdefault(project.id, self._next_patrol()):
            self._patrol(current)
            self._patrol_at[project.id] = self._next_patrol()
        self._follow(current)
        moved = False
        if not self._paused(current):
            moved = undo.turn(desk, current) or self._train.turn(current)
        with desk.db() as db:
            landed = [t for t in tasks.in_state(db, "verifying") if t.project == project.id]
        for task in landed:
            verify.prove(desk, current, task)
        closed = verify.close_goals(desk)
        # Boxes wait until the train stands: a tick is tested too, and several go into one commit.
        still = not moved and self._train.is_idle(current) and not self._paused(current)
        ticked = still and verify.tick(desk, current)
        again = moved or bool(closed) or ticked
        if again:
            self._refresh_at.pop(project.id, None)
            self._remember(project, self._hubs.get(project.id, _NONE)[0])
        else:
            self._refill(current)
        return again

    def _compared(self, project: Project) -> Project:
        """The project as it is now; a hub that is not the one we knew is compared first."""
        if not self._needs_refresh(project):
            return project
        desk, hub = self._desk, self._desk.hub(project)
        seen = (hub.identity, hub.head(project.main_ref))
        if self._hubs.get(project.id) == seen and not lost.is_held(project):
            current = baseline.refresh(desk, project)
        elif lost.is_held(project) and not self._looks_again(project):
            return project
        else:
            lost.bring_back(desk, project)
            lost.compare(desk, baseline.refresh(desk, project))
            with desk.db() as db:
                current = projects.by_id(db, project.id) or project
        self._refresh_at[project.id] = monotonic() + IDLE_S
        self._remember(project, seen[0])
        return current

    def _remember(self, project: Project, identity: str) -> None:
        """With the identity as it was seen before: a hub made anew meanwhile has another."""
        self._hubs[project.id] = (identity, self._desk.hub(project).head(project.main_ref))

    def _looks_again(self, project: Project) -> bool:
        if monotonic() < self._look_at.get(project.id, 0.0):
            return False
        self._look_at[project.id] = monotonic() + LOOK_AGAIN_S
        return True

    def _needs_refresh(self, project: Project) -> bool:
        """Git is asked when main may have moved or something may land, not at every hint."""
        recent = monotonic() < self._refresh_at.get(project.id, 0.0)
        return not recent or project.baseline_verdict != "green" or self._may_land(project)

    def _may_land(self, project: Project) -> bool:
        with self._desk.db() as db:
            near = tasks.in_state(db, "merging", "verifying")
            return any(t.project == project.id for t in near) or bool(
                landings.asked(db, project.id)
            )

    def _refill(self, project: Project) -> None:
        """Spare clones are made when the run that took one is on its way, not beside its start."""
        stock = self._desk.warm(project)
        if len(stock.ready()) >= stock.size:
            return
        if monotonic() >= self._refill_at.setdefault(project.id, monotonic() + REFILL_AFTER_S):
            del self._refill_at[project.id]
            stock.refill(self._desk.hub(project).resolve(project.main_ref))

    def _patrol(self, project: Project) -> None:
        """Main on the timer: what was green may have turned, what was red may have been luck."""
        if project.baseline_verdict == "green":
            found = patrol.retest(self._desk, project)
            self._desk.log("patrol", project=project.slug, found=found)
        else:
            baseline.look_again(self._desk, project)

    def _follow(self, project: Project) -> None:
        if monotonic() >= self._follow_at.get(project.id, 0.0):
            self._follow_at[project.id] = monotonic() + FOLLOW_AGAIN_S
            takeover.follow_again(self._desk, project)

    def _paused(self, project: Project) -> bool:
        """A pause stops claims and landings; runs under way go on."""
        with self._desk.db() as db:
            return self._desk.freeze_file.exists() or any(
                p["scope"] == "all" or (p["scope"] == "project" and p["key"] == project.slug)
                for p in projects.pauses(db)
                if p["key"] != projects.AGENTS
            )
