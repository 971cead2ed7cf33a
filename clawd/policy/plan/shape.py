"""Reads values of unknown shape and names the place of the first one that does not fit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from typing import TypeVar

from clawd.errors import ClawdError

E = TypeVar("E", bound=StrEnum)
R = TypeVar("R")


class BadShape(ClawdError):
    """An agent's answer does not have the shape it was asked for."""


def mapping(
    value: object, path: str, required: Collection[str], optional: Collection[str] = ()
) -> Mapping[str, object]:
    """An object with all required keys and no unknown ones."""
    found = open_mapping(value, path)
    for key in required:
        if key not in found:
            raise BadShape(f"{_at(path)}{key} is missing.")
    unknown = sorted(str(key) for key in found if key not in required and key not in optional)
    if unknown:
        raise BadShape(f"{_at(path)}{unknown[0][:60]} is no key of this answer.")
    return found


def open_mapping(value: object, path: str) -> Mapping[str, object]:
    """An object, whatever its keys."""
    if not isinstance(value, dict):
        raise BadShape(f"{path or 'the answer'} must be an object, not {_kind(value)}.")
    return value


def text(value: object, path: str, limit_chars: int, *, empty: bool = False) -> str:
    """A text without NUL or half characters, within its limit, not blank unless it may be."""
    if not isinstance(value, str):
        raise BadShape(f"{path} must be text, not {_kind(value)}.")
    if len(value) > limit_chars:
        raise BadShape(f"{path} is {len(value)} characters long; at most {limit_chars} are read.")
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise BadShape(f"{path} holds characters that are not text.")
    if not empty and not value.strip():
        raise BadShape(f"{path} is empty.")
    return value.strip()


def one_line(value: object, path: str, limit_chars: int) -> str:
    """A text on one line: runs of blanks and line breaks become one blank."""
    return " ".join(text(value, path, limit_chars).split())


def whole(value: object, path: str, least: int, most: int) -> int:
    """A whole number within bounds; 3.0 is one, true is none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadShape(f"{path} must be a whole number, not {_kind(value)}.")
    if not least <= value <= most:
        raise BadShape(f"{path} must be between {least} and {most}.")
    return value


def choice(value: object, path: str, kinds: type[E]) -> E:
    """One of a closed list of words."""
    known = [str(kind) for kind in kinds]
    if not isinstance(value, str) or value not in known:
        given = repr(value[:40]) if isinstance(value, str) else _kind(value)
        raise BadShape(f"{path} must be one of {', '.join(known)}, not {given}.")
    return kinds(value)


def rows(value: object, path: str, limit: int, read: Callable[[object, str], R]) -> tuple[R, ...]:
    """Every row of a list, read by `read(row, path of the row)`."""
    if not isinstance(value, list):
        raise BadShape(f"{path} must be a list, not {_kind(value)}.")
    if len(value) > limit:
        raise BadShape(f"{path} holds {len(value)} rows; at most {limit} are read.")
    return tuple(read(row, f"{path}[{at}]") for at, row in enumerate(value))


def _at(path: str) -> str:
    return f"{path}." if path else ""


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false"}
    if value is None:
        return "null"
    return names.get(type(value), "a number" if isinstance(value, int | float) else "this")
