"""Writes one text as a YAML scalar that reads back as the same text."""

from __future__ import annotations

import re

import yaml

from clawd.config.strict import Entry, read_yaml

_SAFE = re.compile(r"[A-Za-z0-9_./~][A-Za-z0-9_./~ +=@-]*")


def plain(text: str) -> str:
    """The text bare where that is safe, else in double quotes."""
    if _SAFE.fullmatch(text) and text == text.strip() and read_yaml(f"k: {text}") == _as_text(text):
        return text
    quoted = yaml.dump(text, default_style='"', allow_unicode=True, width=float("inf"))
    return quoted.strip()


def _as_text(text: str) -> Entry:
    return Entry(1, {"k": Entry(1, text)})
