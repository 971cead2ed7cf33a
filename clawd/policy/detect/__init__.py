"""Guesses a repository's test command and set-up from its files, and says what may not work."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from clawd.policy.detect import others
from clawd.policy.detect.hazards import hazards
from clawd.policy.detect.node import node
from clawd.policy.detect.proposal import Look, Proposal, join
from clawd.policy.detect.python import python

__all__ = ["PROGRAMS", "PYTEST", "Proposal", "propose"]

PYTEST = "pytest"  # not a program: whether `python3` inside the cage can import it
PROGRAMS = (
    "python3", "uv", "poetry", "npm", "pnpm", "yarn", "bun", "cargo", "go", "bundle", "mvn",
    "gradle", "mix", "just", "make",
)  # fmt: skip
_KINDS = (
    python, node, others.rust, others.go, others.elixir, others.ruby, others.jvm, others.recipes,
)  # fmt: skip


def propose(
    files: Iterable[str],
    read: Callable[[str], str],
    installed: Collection[str] = (),
) -> Proposal:
    """The first kind of project whose signs are there, with every warning that belongs to it.

    `read` gives a tracked file's text, or nothing; `installed` names those of PROGRAMS (and
    PYTEST) that a command inside the cage can use.
    """
    look = Look(tuple(files), read, frozenset(installed))
    found = [proposal for kind in _KINDS if (proposal := kind(look)) is not None]
    with_tests = [proposal for proposal in found if proposal.test_cmd]
    chosen = (with_tests or found or [Proposal()])[0]
    notes = (*_missing_program(chosen, look), *hazards(look))
    if not chosen.test_cmd:
        notes = ("No tests were found, so nothing can land until there are some.", *notes)
    return join(chosen, notes)


def _missing_program(chosen: Proposal, look: Look) -> tuple[str, ...]:
    program = chosen.program
    if not chosen.test_cmd or not program or not look.installed or look.has(program):
        return ()
    return (
        f"`{program}` is not reachable inside the cage, which shows no home folder: install it "
        "for the whole machine (under /usr or /opt).",
    )
