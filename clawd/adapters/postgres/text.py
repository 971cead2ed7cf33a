"""Makes text and JSON from anywhere fit for Postgres: no NUL, no lone surrogate, bounded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_CUT = "…[cut]"
_REPLACEMENT = "\ufffd"
_DEPTH_LIMIT = 50
_INTEGER_BITS_LIMIT = 1024


def scrub_text(value: str, limit_bytes: int = 65_536) -> str:
    """`value` as Postgres can store it, at most `limit_bytes` of UTF-8; a cut is marked."""
    clean = value[: limit_bytes + 1]  # a character is at least one byte
    clean = clean.replace("\x00", _REPLACEMENT)
    encoded = clean.encode("utf-8", "surrogatepass")
    try:
        encoded.decode("utf-8")
    except UnicodeDecodeError:
        clean = "".join(_REPLACEMENT if "\ud800" <= c <= "\udfff" else c for c in clean)
        encoded = clean.encode("utf-8")
    if len(encoded) <= limit_bytes:
        return clean
    mark = _CUT.encode("utf-8") if limit_bytes >= 4 * len(_CUT) else b""
    return (encoded[: limit_bytes - len(mark)]).decode("utf-8", "ignore") + mark.decode("utf-8")


def scrub_json(value: Any, limit_bytes: int = 1_048_576) -> Any:
    """A copy of `value` that `jsonb` takes; texts are scrubbed, what passes the limit is cut."""
    return _Scrubber(limit_bytes).copy(value, 0)


class _Scrubber:
    """Copies a JSON value while a budget of bytes lasts."""

    def __init__(self, limit_bytes: int) -> None:
        self._left = limit_bytes

    def copy(self, value: Any, depth: int) -> Any:
        self._left -= 8  # every value costs something, else a million empty lists are free
        if self._left <= 0 or depth > _DEPTH_LIMIT:
            return _CUT
        if isinstance(value, Mapping):
            return self._mapping(value, depth)
        if isinstance(value, list | tuple | set | frozenset):
            return self._sequence(value, depth)
        if value is None or isinstance(value, bool | int | float):
            return _plain_number(value)
        return self._text(str(value))

    def _text(self, value: str) -> str:
        clean = scrub_text(value, min(65_536, max(self._left, len(_CUT) * 4)))
        self._left -= len(clean.encode("utf-8"))
        return clean

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        copied: dict[str, Any] = {}
        for key, item in value.items():
            if self._left <= 0:
                copied[_CUT] = len(value) - len(copied)
                break
            copied[self._text(str(key))] = self.copy(item, depth + 1)
        return copied

    def _sequence(self, value: Any, depth: int) -> list[Any]:
        copied: list[Any] = []
        for item in value:
            if self._left <= 0:
                copied.append(_CUT)
                break
            copied.append(self.copy(item, depth + 1))
        return copied


def _plain_number(value: float | None) -> float | str | None:
    """Numbers Postgres can read; bool, int and None pass as they are."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int) and value.bit_length() > _INTEGER_BITS_LIMIT:
        return _CUT
    return value
