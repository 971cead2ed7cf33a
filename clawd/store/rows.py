"""Turns database rows into the model's dataclasses, enums included."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar, get_type_hints

import psycopg

Db = psycopg.Connection[dict[str, Any]]
Row = TypeVar("Row")


@cache
def _fields(kind: Any) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(kind))


def columns(kind: type, alias: str = "") -> str:
    """The select list of a dataclass: its fields are its columns."""
    dot = f"{alias}." if alias else ""
    return ", ".join(f'{dot}"{name}"' for name in _fields(kind))


@cache
def _coercions(kind: Any) -> dict[str, Callable[[Any], Any]]:
    found: dict[str, Callable[[Any], Any]] = {}
    for name, hint in get_type_hints(kind).items():
        if isinstance(hint, type) and issubclass(hint, StrEnum):
            found[name] = hint
        elif getattr(hint, "__origin__", None) is tuple:
            found[name] = tuple
    return found


def build(kind: type[Row], row: dict[str, Any]) -> Row:
    """One row as `kind`; columns the dataclass does not know are left out."""
    shape: Any = kind
    known = _fields(shape)
    values = {name: value for name, value in row.items() if name in known}
    for name, coerce in _coercions(shape).items():
        values[name] = coerce(values[name])
    return kind(**values)


def one(
    db: Db, kind: type[Row], query: str, params: Sequence[Any] | dict[str, Any] = ()
) -> Row | None:
    """The first row of a query as `kind`."""
    row = db.execute(query, params).fetchone()
    return None if row is None else build(kind, row)


def many(
    db: Db, kind: type[Row], query: str, params: Sequence[Any] | dict[str, Any] = ()
) -> list[Row]:
    """Every row of a query as `kind`."""
    return [build(kind, row) for row in db.execute(query, params)]
