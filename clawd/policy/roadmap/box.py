"""Ticks one goal's box in ROADMAP.md by changing one character of its line."""

from __future__ import annotations

import re

from clawd.policy.roadmap.items import LINE_END, Item, parse

_BOX = re.compile(r"(\s*(?:(?:[-*+]|\d{1,9}[.)])\s+)?\[)[ xX]\]")


def tick(text: str, title: str, line: int, ident: str | None = None) -> str:
    """The text with that goal's box checked; unchanged when the goal is not there any more.

    The goal is looked up in this very text: by its explicit id, else on that line with that
    title, else by a title that occurs once. Nothing but the character in the box changes.
    """
    return _mark(text, _find(text, title, line, ident), "x")


def untick(text: str, title: str, line: int, ident: str | None = None) -> str:
    """The text with that goal's box cleared; found as in `tick`."""
    return _mark(text, _find(text, title, line, ident), " ")


def _find(text: str, title: str, line: int, ident: str | None) -> Item | None:
    items = parse(text).items
    if ident is not None:
        for item in items:
            if item.ident == ident:
                return item
    same = [item for item in items if item.title == title]
    for item in same:
        if item.line == line:
            return item
    return same[0] if len(same) == 1 else None


def _mark(text: str, item: Item | None, mark: str) -> str:
    if item is None or item.done == (mark == "x"):
        return text
    start = _line_start(text, item.line)
    box = _BOX.match(text, start)
    if box is None:
        return text
    at = box.end(1)
    return text[:at] + mark + text[at + 1 :]


def _line_start(text: str, line: int) -> int:
    start = 1 if text.startswith("\ufeff") else 0
    for count, end in enumerate(LINE_END.finditer(text), start=2):
        if count > line:
            break
        start = end.end()
    return start
