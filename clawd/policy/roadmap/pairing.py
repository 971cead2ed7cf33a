"""Pairs known goals with roadmap items: by id, by title, by likeness, in that order."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from clawd.policy.roadmap.items import Item

LIKENESS_FLOOR = 0.6

_COMPARED_CHARS = 600
_CANDIDATES = 8
_PAIRS_COMPARED_ALL = 400
_WORDS_IN_COMMON = 0.3
_NEIGHBOUR_LINES = 5
_AUTOMATIC = re.compile(r".*-[0-9a-f]{6}(-\d+)?")


@dataclass(frozen=True, slots=True)
class KnownGoal:
    """A goal as the store holds it; `done` is the box as last read from the file."""

    ident: str
    title: str
    body: str
    line: int
    state: str
    done: bool
    section: str = ""
    priority: int | None = None


@dataclass(slots=True)
class Pairing:
    """Who is who so far, and the goals and items that are still alone."""

    known: list[KnownGoal]
    items: list[Item]
    pairs: list[tuple[KnownGoal, Item]] = field(default_factory=list)

    def take(self, ranked: Iterable[tuple[KnownGoal, Item]]) -> None:
        """Joins the pairs in their order; whoever is taken is not offered again."""
        goals = {goal.ident for goal in self.known}
        orders = {item.order for item in self.items}
        for goal, item in ranked:
            if goal.ident in goals and item.order in orders:
                goals.discard(goal.ident)
                orders.discard(item.order)
                self.pairs.append((goal, item))
        self.known = [goal for goal in self.known if goal.ident in goals]
        self.items = [item for item in self.items if item.order in orders]


def pair(known: Sequence[KnownGoal], items: Sequence[Item]) -> Pairing:
    """Each item with the goal it is, as far as that can be told."""
    pairing = Pairing(list(known), list(items))
    by_ident = {goal.ident: goal for goal in known}
    pairing.take(
        (by_ident[item.ident], item)
        for item in items
        if item.ident is not None and item.ident in by_ident
    )
    pairing.take(_by_title(pairing))
    pairing.take(_by_likeness(pairing))
    return pairing


def normalise(text: str) -> str:
    """The words of a text: line breaks and indentation carry no meaning of their own."""
    return " ".join(text.split())


def _may_be(goal: KnownGoal, item: Item) -> bool:
    """An id the operator wrote names one goal only; an automatic one may give way to it."""
    return item.ident is None or _AUTOMATIC.fullmatch(goal.ident) is not None


def _by_title(pairing: Pairing) -> list[tuple[KnownGoal, Item]]:
    """Same title; among several the same box, the same detail, the same place."""
    by_title: defaultdict[str, list[KnownGoal]] = defaultdict(list)
    for goal in pairing.known:
        by_title[normalise(goal.title)].append(goal)
    ranked = []
    for item in pairing.items:
        for goal in by_title.get(normalise(item.title), ()):
            if _may_be(goal, item):
                rank = (
                    goal.state == "withdrawn",
                    normalise(goal.body) != normalise(item.body),
                    goal.done != item.done,
                    goal.section != item.section_name,
                    abs(goal.line - item.line),
                )
                ranked.append((rank, goal, item))
    ranked.sort(key=lambda entry: entry[0])
    return [(goal, item) for _, goal, item in ranked]


def _by_likeness(pairing: Pairing) -> list[tuple[KnownGoal, Item]]:
    """Reworded: pairs that are each other's best, nearest place first among equals."""
    goals = [goal for goal in pairing.known if goal.state != "withdrawn"]
    scores: list[tuple[float, KnownGoal, Item]] = []
    matcher = SequenceMatcher(autojunk=False)
    for item, candidates in _candidates(goals, pairing.items):
        matcher.set_seq2(_compared(item.title, item.body))
        for goal in candidates:
            reused = goal.done and not item.done
            if not _may_be(goal, item) or reused:
                continue
            matcher.set_seq1(_compared(goal.title, goal.body))
            if matcher.quick_ratio() >= LIKENESS_FLOOR and matcher.ratio() >= LIKENESS_FLOOR:
                scores.append((matcher.ratio() + _nearness(goal, item), goal, item))
    scores.sort(key=lambda entry: -entry[0])
    best_of_goal: dict[str, int] = {}
    best_of_item: dict[int, str] = {}
    for _, goal, item in scores:
        best_of_goal.setdefault(goal.ident, item.order)
        best_of_item.setdefault(item.order, goal.ident)
    return [
        (goal, item)
        for _, goal, item in scores
        if best_of_goal[goal.ident] == item.order and best_of_item[item.order] == goal.ident
    ]


def _candidates(
    goals: Sequence[KnownGoal], items: Sequence[Item]
) -> Iterator[tuple[Item, Sequence[KnownGoal]]]:
    """Whom to compare: everybody in a small edit, the goals with most common words in a big one."""
    if len(goals) * len(items) <= _PAIRS_COMPARED_ALL:
        yield from ((item, goals) for item in items)
        return
    words = [_words(goal.title, goal.body) for goal in goals]
    index: defaultdict[str, list[int]] = defaultdict(list)
    for at, own in enumerate(words):
        for word in own:
            index[word].append(at)
    for item in items:
        wanted = _words(item.title, item.body)
        shared: Counter[int] = Counter()
        for word in wanted:
            shared.update(index.get(word, ())[:200])
        yield (
            item,
            [
                goals[at]
                for at, count in shared.most_common(_CANDIDATES)
                if count * 2 >= _WORDS_IN_COMMON * (len(wanted) + len(words[at]))
            ],
        )


def _words(title: str, body: str) -> set[str]:
    return set(re.findall(r"\w+", _compared(title, body).lower()))


def _compared(title: str, body: str) -> str:
    return normalise(f"{title} {body}")[:_COMPARED_CHARS]


def _nearness(goal: KnownGoal, item: Item) -> float:
    same_section = 0.05 if goal.section == item.section_name else 0.0
    neighbour = 0.05 if abs(goal.line - item.line) <= _NEIGHBOUR_LINES else 0.0
    return same_section + neighbour
