"""Reads the checkbox items of ROADMAP.md with their sections, details and lines."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from markdown_it import MarkdownIt
from markdown_it.token import Token

from clawd.errors import ClawdError

FILE_LIMIT_BYTES = 1_000_000
ITEM_LIMIT = 2_000
TITLE_LIMIT_CHARS = 300
BODY_LIMIT_CHARS = 20_000

# markdown counts these three as line ends and no others; str.splitlines() knows eight more.
LINE_END = re.compile(r"\r\n|\r|\n")
_CHECKBOX = re.compile(r"\[([ xX])\][ \t]+(\S.*)")
_EMPTY_CHECKBOX = re.compile(r"\[[ xX]\]\s*$")
_ID_COMMENT = re.compile(r"<!--\s*id:\s*(.*?)\s*-->")
_IDENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class RoadmapBroken(ClawdError):
    """ROADMAP.md cannot be read as a whole; the last good plan stays in force."""


@dataclass(frozen=True, slots=True)
class Item:
    """One top-level checkbox: a goal as the operator wrote it."""

    ident: str | None
    title: str
    body: str
    section: tuple[str, ...]
    line: int
    done: bool
    order: int

    @property
    def section_name(self) -> str:
        return " / ".join(self.section)


@dataclass(frozen=True, slots=True)
class Roadmap:
    """What a readable ROADMAP.md says, and what in it the operator should look at."""

    items: tuple[Item, ...]
    problems: tuple[str, ...]


def decode(data: bytes) -> str:
    """The text of the file's bytes; a byte order mark and the line ends stay as they are."""
    if len(data) > FILE_LIMIT_BYTES:
        raise _too_big()
    if b"\0" in data:
        raise _binary()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise RoadmapBroken(
            f"ROADMAP.md is not UTF-8 text (line {line}).", "Save it as UTF-8."
        ) from None


def parse(text: str) -> Roadmap:
    """The goals of a roadmap in the order they stand, or RoadmapBroken."""
    _refuse_unreadable(text)
    lines = LINE_END.split(text.removeprefix("\ufeff"))
    tokens = _reader().parse("\n".join(lines))
    problems: list[str] = []
    found = list(_read_items(tokens, lines, problems))
    if len(found) > ITEM_LIMIT:
        raise RoadmapBroken(
            f"ROADMAP.md holds {len(found)} goals; clawd reads at most {ITEM_LIMIT}.",
            "Move finished or far goals to another file.",
        )
    kept = _drop_repeated_idents(found, problems)
    if not kept:
        problems.append("ROADMAP.md holds no goals: write one as `- [ ] what you want`.")
    items = tuple(replace(item, order=order) for order, item in enumerate(kept))
    return Roadmap(items, tuple(problems))


def _refuse_unreadable(text: str) -> None:
    if "\0" in text or _SURROGATE.search(text):
        raise _binary()
    if len(text) > FILE_LIMIT_BYTES or len(text.encode()) > FILE_LIMIT_BYTES:
        raise _too_big()


def _binary() -> RoadmapBroken:
    return RoadmapBroken("ROADMAP.md is not text.", "Restore it from git and save it again.")


def _too_big() -> RoadmapBroken:
    return RoadmapBroken(
        f"ROADMAP.md is larger than {FILE_LIMIT_BYTES // 1_000} kB.",
        "Keep goals in it and move the prose to other files.",
    )


def _reader() -> MarkdownIt:
    return MarkdownIt("commonmark").disable(["inline", "text_join"])


def _read_items(tokens: Sequence[Token], lines: list[str], problems: list[str]) -> Iterator[Item]:
    """Items of lists that stand at the top level; a quote or an outer list raises the level."""
    headings: list[tuple[int, str]] = []
    for at, token in enumerate(tokens):
        if token.type == "heading_open" and token.level == 0:
            depth = int(token.tag[1:])
            headings = [known for known in headings if known[0] < depth]
            headings.append((depth, _one_line(tokens[at + 1].content)))
        elif token.type == "list_item_open" and token.level == 1:
            section = tuple(name for _, name in headings)
            item = _read_item(tokens[at : at + 3], lines, section, problems)
            if item is not None:
                yield item


def _read_item(
    opening: Sequence[Token], lines: list[str], section: tuple[str, ...], problems: list[str]
) -> Item | None:
    """A goal when the list item's first paragraph begins with a box, else None."""
    if len(opening) < 3 or opening[1].type != "paragraph_open":
        return None
    inline, span = opening[2], opening[0].map
    if inline.map is None or span is None:
        return None
    line = inline.map[0]
    first, _, _ = inline.content.partition("\n")
    box = _CHECKBOX.match(first)
    if box is None:
        if _EMPTY_CHECKBOX.match(first):
            problems.append(f"Line {line + 1}: a checkbox without a title is no goal.")
        return None
    detail = lines[line + 1 : span[1]]
    ident, title, detail = _take_ident(box[2], detail, line + 1, problems)
    if not title:
        problems.append(f"Line {line + 1}: a checkbox without a title is no goal.")
        return None
    if len(title) > TITLE_LIMIT_CHARS:
        problems.append(f"Line {line + 1}: the title is cut at {TITLE_LIMIT_CHARS} characters.")
        title = title[:TITLE_LIMIT_CHARS].rstrip()
    body = textwrap.dedent("\n".join(detail)).strip()
    if len(body) > BODY_LIMIT_CHARS:
        problems.append(f"Line {line + 1}: the detail is cut at {BODY_LIMIT_CHARS} characters.")
        body = body[:BODY_LIMIT_CHARS].rstrip()
    return Item(ident, title, body, section, line + 1, box[1] != " ", 0)


def _take_ident(
    title: str, detail: list[str], line: int, problems: list[str]
) -> tuple[str | None, str, list[str]]:
    """The explicit id from the title's line or alone on the next one, and what is left."""
    comment = _ID_COMMENT.search(title)
    if comment is not None:
        title = title[: comment.start()] + " " + title[comment.end() :]
    elif detail and (comment := _ID_COMMENT.fullmatch(detail[0].strip())):
        detail = detail[1:]
    if comment is None:
        return None, _one_line(title), detail
    if _IDENT.fullmatch(comment[1]):
        return comment[1], _one_line(title), detail
    problems.append(
        f"Line {line}: the id may hold letters, digits, dot, dash and underscore, 64 at most."
    )
    return None, _one_line(title), detail


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _drop_repeated_idents(found: Sequence[Item], problems: list[str]) -> list[Item]:
    first_line: dict[str, int] = {}
    kept = []
    for item in found:
        if item.ident is not None and item.ident in first_line:
            problems.append(
                f"Lines {first_line[item.ident]} and {item.line} both carry "
                f"the id {item.ident}; the second is ignored."
            )
            continue
        if item.ident is not None:
            first_line[item.ident] = item.line
        kept.append(item)
    return kept
