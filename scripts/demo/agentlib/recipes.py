"""How the developer does each task of the sample: files to write, edits the tree asks for.

A recipe looks at the tree in front of it and does what is still missing there. So the same recipe
serves the first round, a revise round and a repair on a newer main, in any order.
"""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agentlib.session import Session
from agentlib.workspace import Workspace

QUESTION = "Should the export be Markdown or HTML?"
BY_POSITION = re.compile(r"\bshorten\([^()]+, \d+\)")


@dataclass(frozen=True)
class Recipe:
    """One prepared task: a folder of texts, the paths it writes, and the edits after them."""

    folder: str
    paths: tuple[str, ...] = ()
    edit: Callable[[Session], None] | None = None
    asks: bool = False

    def text(self, path: str) -> str:
        """One of the recipe's texts; through the loader, so that it works packed as well."""
        data = pkgutil.get_data("agentlib", f"recipes/{self.folder}/{path}")
        if data is None:
            raise FileNotFoundError(path)
        return data.decode()

    def write_missing(self, session: Session) -> None:
        """Writes what is not there yet; what an earlier round wrote stays as it is."""
        for path in self.paths:
            if not Path(path).exists():
                session.write(path, self.text(path))


@dataclass(frozen=True)
class Fix:
    """What to do about a review's finding: words of its text, the file, old and new text."""

    words: str
    path: str
    old: str
    new: str


def find(workspace: Workspace) -> Recipe | None:
    """The recipe for the task's title."""
    title = workspace.title.lower()
    return next((recipe for words, recipe in BY_TITLE if words in title), None)


def choose_export(session: Session, workspace: Workspace, recipe: Recipe) -> bool:
    """Writes the export the operator chose; without an answer asks, and returns False."""
    answer = workspace.answer_to("export")
    if answer is None:
        session.say("Two formats would do. I ask before I choose.")
        workspace.tell("questions", {"text": QUESTION, "options": ["Markdown", "HTML"]})
        return False
    chosen = "html" if "html" in answer.lower() else "markdown"
    if not Path("pocket/export.py").exists():
        session.say(f"The operator answered {answer!r}: {chosen} it is.")
        session.write("pocket/export.py", recipe.text(f"pocket/{chosen}.txt"))
    return True


def _register(name: str) -> Callable[[Session], None]:
    """Lists the command at the end of COMMANDS, where everybody lists theirs."""

    def edit(session: Session) -> None:
        text = session.read("pocket/cli.py")
        found = re.search(r"COMMANDS = \((?:\n    \"\w+\",)*\n\)", text)
        if found is not None and f'"{name}"' not in found[0]:
            listed = found[0][:-1] + f'    "{name}",\n)'
            session.edit("pocket/cli.py", found[0], listed)

    return edit


def _narrow_list(session: Session) -> None:
    path = "pocket/commands/list.py"
    if "--tag" not in session.read(path):
        session.write(path, LIST_TAG.text(path))


def _rank_hits(session: Session) -> None:
    path = "pocket/commands/find.py"
    text = session.read(path)
    if "ranked" in text:
        return
    session.edit(
        path, "from pocket.search", "from pocket.ranking import ranked\nfrom pocket.search"
    )
    plain = "[one_line(item) for item in holding(shelf.items, args.words)]"
    best_first = "[one_line(item) for item in ranked(hits, args.words)]"
    session.edit(
        path, f"return {plain}", f"hits = holding(shelf.items, args.words)\n    return {best_first}"
    )


def _shorten_at_words(session: Session) -> None:
    """Replaces `shorten`; by name only, unless somebody already calls it by position."""
    path = "pocket/text.py"
    text = session.read(path)
    found = re.search(r"def shorten\(.*?\n\n\n", text, re.DOTALL)
    if found is not None and "limit_chars" not in found[0]:
        session.edit(path, found[0], SHORTEN.text("pocket/shorten.txt") + "\n\n")
    callers = [str(file) for file in sorted(Path("pocket").glob("*.py")) if _by_position(file)]
    if callers:
        session.say(f"{callers[0]} gives the length by position, so that stays allowed.")
        session.edit(path, "text: str, *, limit_chars", "text: str, limit_chars")


def _by_position(file: Path) -> bool:
    return BY_POSITION.search(file.read_text("utf-8", "replace")) is not None


def _call_shorten(session: Session) -> None:
    """Calls `shorten` the way the tree in front of us wants it called."""
    if "limit_chars" in session.read("pocket/text.py"):
        session.edit("pocket/unread.py", "item.title, 40)", "item.title, limit_chars=40)")


TAGS = Recipe(
    "tags",
    ("pocket/tags.py", "pocket/commands/tags.py", "tests/test_tags.py"),
    _register("tags"),
)
LIST_TAG = Recipe("list_tag", ("tests/test_list_tag.py",), _narrow_list)
FIND = Recipe(
    "find",
    ("pocket/search.py", "pocket/commands/find.py", "tests/test_find.py"),
    _register("find"),
)
RANKING = Recipe("ranking", ("pocket/ranking.py", "tests/test_ranking.py"), _rank_hits)
SHORTEN = Recipe("shorten", ("tests/test_shorten.py",), _shorten_at_words)
UNREAD = Recipe("unread", ("pocket/unread.py", "tests/test_unread.py"), _call_shorten)
STATS = Recipe("stats", ("pocket/stats.py", "tests/test_stats.py"))
EXPORT = Recipe("export", ("tests/test_export.py",), asks=True)

BY_TITLE: tuple[tuple[str, Recipe], ...] = (
    ("the command pocket tags", TAGS),
    ("pocket list show one tag", LIST_TAG),
    ("the command pocket find", FIND),
    ("hits of pocket find", RANKING),
    ("shorten long titles", SHORTEN),
    ("list unread items", UNREAD),
    ("what was read per week", STATS),
    ("export the list", EXPORT),
)

FIXES: tuple[Fix, ...] = (
    Fix(
        "average_per_week has no docstring",
        "pocket/stats.py",
        "def average_per_week(items: list[Item]) -> float:\n",
        "def average_per_week(items: list[Item]) -> float:\n"
        '    """The mean over the weeks in which something was read; 0 when nothing was."""\n',
    ),
    Fix(
        "average_per_week fails",
        "pocket/stats.py",
        "return sum(weeks.values()) / len(weeks)",
        "return sum(weeks.values()) / len(weeks) if weeks else 0.0",
    ),
    Fix(
        "average_per_week is not tested with an empty list",
        "tests/test_stats.py",
        "    def test_the_average",
        "    def test_the_average_of_nothing_is_zero(self):\n"
        "        self.assertEqual(average_per_week([]), 0.0)\n\n"
        "    def test_the_average",
    ),
    Fix(
        "per_week is not tested with an empty list",
        "tests/test_stats.py",
        "    def test_items_are_counted",
        "    def test_an_empty_list_has_no_weeks(self):\n"
        "        self.assertEqual(per_week([]), {})\n\n"
        "    def test_items_are_counted",
    ),
)
