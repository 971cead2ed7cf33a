"""The simulated repository: trees are sets of changes, main moves by compare-and-swap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tests.sim.rows import Bug

Tree = frozenset[int]


@dataclass(frozen=True, slots=True)
class Commit:
    id: int
    parents: tuple[int, ...]
    tree: Tree
    what: str
    tasks: tuple[int, ...] = ()


class Hub:
    """Git as the daemon uses it; what is true of a change (red, clashing) only it knows."""

    def __init__(self, rng: Random, bugs: frozenset[Bug]) -> None:
        self.rng, self.bugs = rng, bugs
        self.commits = [Commit(0, (), frozenset(), "root")]
        self.main = 0
        self.refs: dict[int, int] = {}  # run -> candidate, written before the row
        self.bad: set[int] = set()
        self.red_pairs: set[frozenset[int]] = set()
        self.clashing: set[frozenset[int]] = set()
        self.changes = 0
        self.locked_until = 0.0
        self.on_main = {0}
        self.on_tip: Callable[[Commit, Commit], None] = lambda tip, before: None

    def new_change(self, bad: float = 0.0, pair: float = 0.0, clash: float = 0.0) -> int:
        """A change nobody knows the truth of yet."""
        self.changes += 1
        change, rng = self.changes, self.rng
        if rng.random() < bad:
            self.bad.add(change)
        others = sorted({(c.tree and max(c.tree)) or 0 for c in self.commits[-12:]} - {0, change})
        if others and rng.random() < pair:
            self.red_pairs.add(frozenset((change, rng.choice(others))))
        if others and rng.random() < clash:
            self.clashing.add(frozenset((change, rng.choice(others))))
        return change

    def commit(
        self, parents: tuple[int, ...], tree: Tree, what: str, tasks: tuple[int, ...] = ()
    ) -> Commit:
        made = Commit(len(self.commits), parents, tree, what, tasks)
        self.commits.append(made)
        return made

    def is_red(self, tree: Tree) -> bool:
        """The truth the tests find out."""
        return not tree.isdisjoint(self.bad) or any(pair <= tree for pair in self.red_pairs)

    def added(self, candidate: int) -> Tree:
        """What a candidate adds to its base."""
        commit = self.commits[candidate]
        return commit.tree - self.commits[commit.parents[0]].tree

    def clash(self, a: Tree, b: Tree) -> bool:
        return any(len(pair & a) and len(pair & b) for pair in self.clashing)

    def conflicts_with_main(self, candidate: int) -> bool:
        base = self.commits[self.commits[candidate].parents[0]].tree
        return self.clash(self.added(candidate), self.commits[self.main].tree - base)

    def swap(self, new: int, old: int, now: float) -> bool:
        """update-ref NEW OLD; False when main is not OLD, or a lock is in the way."""
        if now < self.locked_until:
            return False
        if self.main != old and Bug.NO_CAS not in self.bugs:
            return False
        before, self.main = self.commits[self.main], new
        self.on_main = self._reachable(new)
        self.on_tip(self.commits[new], before)
        return True

    def _reachable(self, tip: int) -> set[int]:
        seen, todo = set(), [tip]
        while todo:
            at = todo.pop()
            if at not in seen:
                seen.add(at)
                todo += self.commits[at].parents
        return seen

    def operator_commits(self, now: float, bad: bool) -> None:
        """The operator's own work flows in: main moves without us."""
        change = self.new_change()
        if bad:
            self.bad.add(change)
        tip = self.commits[self.main]
        self.swap(self.commit((tip.id,), tip.tree | {change}, "operator").id, tip.id, now)

    def operator_mends(self, now: float) -> None:
        """Whatever is red on main is made good in a new commit (the change is replaced)."""
        tip = self.commits[self.main]
        red = tip.tree & self.bad
        for pair in self.red_pairs:
            if pair <= tip.tree:
                red |= {max(pair)}
        if red:
            good = {self.new_change() for _ in range(1)}
            tree = (tip.tree - red) | good
            self.swap(self.commit((tip.id,), tree, "operator").id, tip.id, now)
