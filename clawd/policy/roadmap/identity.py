"""Decides which goal of before each roadmap item is, and what changed since."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from clawd.policy.roadmap.items import Item
from clawd.policy.roadmap.pairing import KnownGoal, Pairing, normalise, pair

VANISH_LIMIT = 3
VANISH_SHARE_PERCENT = 30

_SLUG_LIMIT_CHARS = 40


@dataclass(frozen=True, slots=True)
class NewGoal:
    """An item nobody knew, with the identity it gets."""

    ident: str
    item: Item


@dataclass(frozen=True, slots=True)
class Match:
    """A known goal and the item it is now."""

    ident: str
    item: Item
    known: KnownGoal


@dataclass(frozen=True, slots=True)
class Rename:
    """The operator gave a goal an id of their own; the goal stays the same one."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Held:
    """Goals that vanished in a way that looks like an accident; nothing is withdrawn."""

    reason: str
    idents: tuple[str, ...]
    sentence: str


@dataclass(frozen=True, slots=True)
class Changes:
    """What the roadmap says now against what is known; empty when nothing differs."""

    added: tuple[NewGoal, ...] = ()
    changed: tuple[Match, ...] = ()
    moved: tuple[Match, ...] = ()
    vanished: tuple[str, ...] = ()
    ticked_by_operator: tuple[Match, ...] = ()
    unticked: tuple[Match, ...] = ()
    settled: tuple[Match, ...] = ()
    reappeared: tuple[Match, ...] = ()
    renamed: tuple[Rename, ...] = ()
    held: Held | None = None

    @property
    def empty(self) -> bool:
        return self == Changes()


def reconcile(
    known: Sequence[KnownGoal], items: Sequence[Item], *, confirmed: Collection[str] = ()
) -> Changes:
    """Every difference between the known goals and the items of one reading.

    Identity: the explicit id, else the exact title, else the best likeness of title and
    detail. `confirmed` names the vanished goals whose withdrawal the operator agreed to.
    `settled` are boxes ticked for goals clawd finished. An unknown item that is already
    ticked is nobody's work and is left out.
    """
    pairing = pair(known, items)
    found = sorted(_matches(pairing.pairs), key=lambda match: match.item.order)
    matches = [match for match in found if match.known.state != "withdrawn"]
    vanished, held = _judge_vanished(known, pairing.known, items, confirmed)
    return Changes(
        added=tuple(_name_new(known, pairing)),
        changed=tuple(match for match in matches if _reworded(match)),
        moved=tuple(match for match in matches if _moved(match)),
        vanished=vanished,
        ticked_by_operator=tuple(m for m in matches if _ticked(m) and m.known.state != "done"),
        unticked=tuple(m for m in matches if m.known.done and not m.item.done),
        settled=tuple(m for m in matches if _ticked(m) and m.known.state == "done"),
        reappeared=tuple(m for m in found if m.known.state == "withdrawn" and not m.item.done),
        renamed=tuple(
            Rename(match.known.ident, match.ident)
            for match in found
            if match.ident != match.known.ident
        ),
        held=held,
    )


def _matches(pairs: Sequence[tuple[KnownGoal, Item]]) -> Iterator[Match]:
    for goal, item in pairs:
        yield Match(item.ident or goal.ident, item, goal)


def _reworded(match: Match) -> bool:
    return normalise(match.item.title) != normalise(match.known.title) or normalise(
        match.item.body
    ) != normalise(match.known.body)


def _moved(match: Match) -> bool:
    known, item = match.known, match.item
    reordered = known.priority is not None and known.priority != item.order
    return known.line != item.line or reordered


def _ticked(match: Match) -> bool:
    return match.item.done and not match.known.done


def _judge_vanished(
    known: Sequence[KnownGoal],
    missing: Sequence[KnownGoal],
    items: Sequence[Item],
    confirmed: Collection[str],
) -> tuple[tuple[str, ...], Held | None]:
    """The goals to withdraw now, and those held because too many went at once."""
    live = [goal for goal in known if _is_live(goal)]
    gone = [goal.ident for goal in missing if _is_live(goal)]
    agreed = tuple(ident for ident in gone if ident in confirmed)
    open_ones = tuple(ident for ident in gone if ident not in confirmed)
    if not open_ones:
        return agreed, None
    if not items:
        sentence = f"ROADMAP.md is empty but {len(open_ones)} goals were in it."
        return agreed, Held("empty", open_ones, sentence)
    too_many = len(open_ones) > VANISH_LIMIT
    if too_many or len(open_ones) * 100 > VANISH_SHARE_PERCENT * len(live):
        sentence = f"{len(open_ones)} of {len(live)} goals vanished from ROADMAP.md at once."
        return agreed, Held("many", open_ones, sentence)
    return (*agreed, *open_ones), None


def _is_live(goal: KnownGoal) -> bool:
    return goal.state not in {"done", "withdrawn"} and not goal.done


def _name_new(known: Sequence[KnownGoal], pairing: Pairing) -> Iterator[NewGoal]:
    taken = {goal.ident for goal in known}
    taken |= {item.ident for _, item in pairing.pairs if item.ident is not None}
    taken |= {item.ident for item in pairing.items if item.ident is not None}
    for item in pairing.items:
        if item.done:
            continue
        ident = item.ident or _fresh_ident(item, taken)
        taken.add(ident)
        yield NewGoal(ident, item)


def _fresh_ident(item: Item, taken: Collection[str]) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", item.title.lower())[:_SLUG_LIMIT_CHARS].strip("-")
    text = "\n".join((*item.section, item.title, item.body))
    stem = f"{slug or 'goal'}-{sha256(text.encode()).hexdigest()[:6]}"
    ident, count = stem, 1
    while ident in taken:
        count += 1
        ident = f"{stem}-{count}"
    return ident
