"""Which files a task may touch, and whether two tasks could meet in one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import product, takewhile

_FORBIDDEN_TOPS = frozenset({".git", ".clawd"})
_ROADMAP = "roadmap.md"


def inside(path: str, scopes: Sequence[str]) -> bool:
    """Whether a file belongs to one of the scopes; a folder's name stands for all in it."""
    name = path.removeprefix("./")
    return any(_matcher(_plain(scope)).fullmatch(name) for scope in scopes)


def overlaps(scopes_a: Sequence[str], scopes_b: Sequence[str]) -> bool:
    """Whether some file could belong to both; in doubt yes. No scope at all is every file."""
    return _overlap(tuple(scopes_a), tuple(scopes_b))


@lru_cache(maxsize=16_384)
def _overlap(scopes_a: tuple[str, ...], scopes_b: tuple[str, ...]) -> bool:
    """Each decision asks again for nearly the same pairs."""
    if not scopes_a or not scopes_b:
        return True
    return any(_meet(_plain(a), _plain(b)) for a, b in product(scopes_a, scopes_b))


def reason_outside(scope: str) -> str:
    """Why a scope is none of a task's business; empty when it is fine."""
    parts = _plain(scope).split("/")
    if not scope.strip() or scope != scope.strip() or not scope.isprintable():
        return "is not a path"
    if scope.startswith(("/", "\\", "~")) or re.match(r"[A-Za-z]:", scope):
        return "is not relative to the repository"
    if ".." in parts or "\\" in scope:
        return "leaves the repository"
    top = parts[0].lower()
    if top in _FORBIDDEN_TOPS or any(part.lower() == ".git" for part in parts):
        return f"names {top if top in _FORBIDDEN_TOPS else '.git'}, which no task may touch"
    if _plain(scope).lower() == _ROADMAP:
        return "names ROADMAP.md, which only the operator and clawd edit"
    return ""


def _plain(scope: str) -> str:
    return scope.strip().removeprefix("./").rstrip("/") or "**"


@lru_cache(maxsize=4096)
def _matcher(scope: str) -> re.Pattern[str]:
    """`**` crosses folders, `*` and `?` do not; everything below a match belongs to it."""
    if scope in {".", "*", "**"}:
        return re.compile(r"(?s:.*)")
    pattern, at = "", 0
    while at < len(scope):
        if scope.startswith("**/", at):
            pattern, at = pattern + r"(?:.*/)?", at + 3
        elif scope.startswith("**", at):
            pattern, at = pattern + r".*", at + 2
        elif scope[at] == "*":
            pattern, at = pattern + r"[^/]*", at + 1
        elif scope[at] == "?":
            pattern, at = pattern + r"[^/]", at + 1
        else:
            pattern, at = pattern + re.escape(scope[at]), at + 1
    return re.compile(f"(?s:{pattern}(?:/.*)?)")


def _meet(a: str, b: str) -> bool:
    """Two globs: folder by folder, until one ends (it holds the rest) or they cannot agree."""
    for one, other in zip(_fixed(a), _fixed(b), strict=False):
        if one != other:
            return False  # nearly every pair of a long queue ends here, and cheaply
    return _meet_parts(tuple(a.split("/")), tuple(b.split("/")))


@lru_cache(maxsize=4096)
def _fixed(scope: str) -> tuple[str, ...]:
    """The folders a glob begins with that are names and no patterns."""
    return tuple(takewhile(lambda part: part != "." and not _is_glob(part), scope.split("/")))


@lru_cache(maxsize=16_384)
def _meet_parts(a: tuple[str, ...], b: tuple[str, ...]) -> bool:
    if not a or not b or a[0] == "." or b[0] == ".":
        return True
    if "**" in a[0] or "**" in b[0]:
        return True if _opens(a, b) else any(_meet_parts(*pair) for pair in _skips(a, b))
    return _names_meet(a[0], b[0]) and _meet_parts(a[1:], b[1:])


def _opens(a: tuple[str, ...], b: tuple[str, ...]) -> bool:
    """A `**` at the end, or glued to a name, is taken to reach everything."""
    return any(len(parts) == 1 or parts[0] != "**" for parts in (a, b) if "**" in parts[0])


def _skips(a: tuple[str, ...], b: tuple[str, ...]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """What `**/` may stand for: nothing, or the other side's next folder."""
    pairs = []
    if a[0] == "**":
        pairs += [(a[1:], b)] + ([] if _is_file(b) else [(a, b[1:])])
    if b[0] == "**":
        pairs += [(a, b[1:])] + ([] if _is_file(a) else [(a[1:], b)])
    return pairs


def _is_file(parts: tuple[str, ...]) -> bool:
    """A last name with a dot in it is taken for a file: nothing lies below it."""
    return len(parts) == 1 and "." in parts[0][1:]


def _names_meet(a: str, b: str) -> bool:
    """Two name patterns: their fixed beginnings and ends must be able to agree."""
    if not _is_glob(a):
        return _matcher(b).fullmatch(a) is not None
    if not _is_glob(b):
        return _matcher(a).fullmatch(b) is not None
    heads, tails = (_head(a), _head(b)), (_head(a[::-1]), _head(b[::-1]))
    return _agree(*heads) and _agree(*tails)


def _is_glob(name: str) -> bool:
    return "*" in name or "?" in name


def _head(name: str) -> str:
    return re.split(r"[*?]", name, maxsplit=1)[0]


def _agree(a: str, b: str) -> bool:
    return a.startswith(b) or b.startswith(a)
