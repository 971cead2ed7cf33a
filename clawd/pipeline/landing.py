"""Moves main: the intent rows, the compare-and-swap, and what a crash between them left open."""

from __future__ import annotations

from clawd.adapters import crash
from clawd.adapters.git import merge
from clawd.adapters.git.hub import Hub
from clawd.model import LandingRow, Project
from clawd.pipeline import takeover
from clawd.pipeline.couple import Coupled
from clawd.pipeline.desk import Desk
from clawd.store import landings, moves, tasks
from clawd.store.landings import TestVerdict


def land(desk: Desk, project: Project, coupled: Coupled, verdict: TestVerdict) -> bool:
    """Intent rows for every car, one swap, every row settled; False when nothing landed."""
    intents = _intend(desk, project, coupled, verdict)
    crash.point("land.before")
    landed = [complete(desk, project, intent) for intent in intents]
    return bool(landed) and all(landed)


def _intend(
    desk: Desk, project: Project, coupled: Coupled, verdict: TestVerdict
) -> list[LandingRow]:
    """The point of no return: all cars of the tested tree, or none of them."""
    intents: list[LandingRow] = []
    with desk.db() as db, db.transaction():
        for car in coupled.cars:
            fresh = tasks.by_id(db, car.task.id)
            if fresh is None or fresh.state != "merging" or fresh.candidate != car.candidate.id:
                return []  # cancelled or edited while it was tested: that tree must not land
        for car, link in zip(coupled.cars, coupled.links, strict=True):
            intents.append(
                landings.intend(
                    db,
                    project=project.id,
                    task=car.task.id,
                    kind="land",
                    candidate=car.candidate.id,
                    old_main=coupled.main,
                    new_main=coupled.tip,
                    car=link,
                    tree=coupled.tree,
                    epoch=desk.epoch,
                )
            )
            why = f"tests {verdict.verdict} on tree {coupled.tree[:12]}, main {coupled.main[:12]}"
            moves.tell(db, "task", car.task.id, "intend", why, actor="train")
    return intents


def complete(desk: Desk, project: Project, intent: LandingRow) -> bool:
    """Makes an intent true or void; the same for the train and for recovery after a crash."""
    hub = desk.hub(project)
    if not hub.has(intent.new_main):
        return _void(desk, intent, "the hub does not have the tested commit any more")
    if not _is_landed(hub, project, intent) and not merge.swap(
        hub, project.main_ref, intent.new_main, intent.old_main
    ):
        return _void(desk, intent, "main moved meanwhile")
    if hub.tree_of(intent.new_main) != intent.tree:
        raise AssertionError(f"landing {intent.id}: the tree on main is not the tested one")
    crash.point("land.mid")
    takeover.after_landing(desk, project, intent)
    crash.point("land.told")
    return True


def _void(desk: Desk, intent: LandingRow, why: str) -> bool:
    """Nothing landed: the car is coupled and tested again; a revert stays asked for."""
    with desk.db() as db, db.transaction():
        if intent.kind == "revert":
            landings.ask_again(db, intent.id)
        else:
            landings.settle(db, intent.id, "void")
        moves.tell(db, "task", intent.task, "landing_void", why, actor="train")
    return False


def _is_landed(hub: Hub, project: Project, intent: LandingRow) -> bool:
    main = hub.head(project.main_ref)
    return main is not None and hub.is_ancestor(intent.new_main, main)


def recover_intents(desk: Desk, project: Project) -> None:
    """What a crash left between intent and landing: git is the witness, the row the ledger."""
    with desk.db() as db:
        left = landings.intents(db, project.id)
    for intent in left:
        complete(desk, project, intent)
