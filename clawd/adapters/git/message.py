"""Commit messages and identities that nobody can forge a trailer in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

MESSAGE_LIMIT = 20_000
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_OURS = re.compile(r"(?im)^(?=[^\S\n]*clawd-[\w-]*[^\S\n]*:)")
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9-]*\Z")


@dataclass(frozen=True, slots=True)
class Identity:
    """The name and address a commit is made under."""

    name: str
    email: str

    def variables(self, when: datetime) -> dict[str, str]:
        """The environment that makes git write this identity and this moment, and no other."""
        date = f"@{int(when.timestamp())} +0000"
        return {
            f"GIT_{who}_{what}": value
            for who in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", self.name), ("EMAIL", self.email), ("DATE", date))
        }


def clean(text: str) -> str:
    """Agent text as a message: one kind of line end, no control bytes, no trailer of ours."""
    text = text.encode("utf-8", "replace").decode()[:MESSAGE_LIMIT]
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _OURS.sub("> ", _CONTROL.sub("", text)).strip()
    return text or "(no message)"


def compose(text: str, trailers: Mapping[str, str]) -> str:
    """The cleaned text, a blank line, then our trailers: the last paragraph is only ours."""
    lines = []
    for key, value in trailers.items():
        if not _KEY.match(key):
            raise ValueError(f"not a trailer key: {key!r}")
        lines.append(f"{key}: {' '.join(_CONTROL.sub(' ', str(value)).split())}")
    body = clean(text)
    return f"{body}\n\n" + "\n".join(lines) + "\n" if lines else f"{body}\n"
