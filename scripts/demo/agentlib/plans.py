"""The plans for the sample's goals, as the planner proposes them: goal words -> tasks."""

from __future__ import annotations

from typing import Any

Task = dict[str, Any]


def _task(
    key: str,
    title: str,
    spec: str,
    test: str,
    scope: list[str],
    *,
    needs: tuple[str, ...] = (),
    may_change: tuple[str, ...] = (),
    minutes: int = 15,
    difficulty: str = "easy",
    risk: str = "low",
) -> Task:
    return {
        "key": key,
        "title": title,
        "spec": spec,
        "acceptance": [
            {"run": f"python3 -m unittest -q tests.{test}", "why": "the new behaviour is shown"},
        ],
        "scope": [*scope, f"tests/{test}.py"],
        "may_change": list(may_change),
        "needs": list(needs),
        "size_minutes": minutes,
        "difficulty": difficulty,
        "risk": risk,
    }


TAGS = (
    _task(
        "t1",
        "Add the command pocket tags",
        "`pocket tags` prints every tag with the number of its items, the most used first. "
        "The module is pocket/tags.py, the command is listed in COMMANDS of pocket/cli.py.",
        "test_tags",
        ["pocket/tags.py", "pocket/commands/tags.py"],
        may_change=("pocket/cli.py",),
    ),
    _task(
        "t2",
        "Let pocket list show one tag only",
        "`pocket list --tag craft` shows only the items with that tag, with their own numbers.",
        "test_list_tag",
        ["pocket/commands/list.py"],
        needs=("t1",),
        minutes=10,
    ),
)
SEARCH = (
    _task(
        "t1",
        "Add the command pocket find",
        "`pocket find WORD...` lists the items that hold every word in title or note, whatever "
        "the case. The module is pocket/search.py, the command is listed in COMMANDS of "
        "pocket/cli.py.",
        "test_find",
        ["pocket/search.py", "pocket/commands/find.py"],
        may_change=("pocket/cli.py",),
    ),
    _task(
        "t2",
        "Rank the hits of pocket find",
        "A hit in the title comes before a hit in the note; otherwise the list's own order.",
        "test_ranking",
        ["pocket/ranking.py", "pocket/commands/find.py"],
        needs=("t1",),
        difficulty="normal",
    ),
)
TITLES = (
    _task(
        "t1",
        "Shorten long titles at a word",
        "`shorten` in pocket/text.py cuts between two words and says in its parameter's name "
        "that it counts characters: `limit_chars`, given by name.",
        "test_shorten",
        ["pocket/text.py"],
        difficulty="normal",
        risk="medium",
    ),
)
READING = (
    _task(
        "t1",
        "List unread items, the oldest first",
        "pocket/unread.py: `unread(items)` and `lines(items)`, one line each with the day it was "
        "added and the title shortened by `shorten` of pocket/text.py to 40 characters.",
        "test_unread",
        ["pocket/unread.py"],
    ),
    _task(
        "t2",
        "Count what was read per week",
        "pocket/stats.py: `per_week(items)` counts by ISO week, `average_per_week(items)` is the "
        "mean over the weeks in which something was read.",
        "test_stats",
        ["pocket/stats.py"],
        difficulty="normal",
    ),
)
SHARING = (
    _task(
        "t1",
        "Export the list to one file",
        "pocket/export.py: `export(items)` returns the whole list as one text that can be sent "
        "by mail. The format is the operator's choice.",
        "test_export",
        ["pocket/export.py"],
    ),
)

BY_WORDS: tuple[tuple[str, tuple[Task, ...]], ...] = (
    ("by their tags", TAGS),
    ("words of titles", SEARCH),
    ("long titles", TITLES),
    ("unread and what was read", READING),
    ("list with a friend", SHARING),
)


def plan_for(title: str) -> tuple[Task, ...]:
    """The prepared plan for a goal of the sample; empty for any other goal."""
    words = " ".join(title.lower().split())
    return next((tasks for known, tasks in BY_WORDS if known in words), ())
