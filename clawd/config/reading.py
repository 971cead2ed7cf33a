"""Turns the entries of clawd.yaml into the frozen settings, or says which key is wrong."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import StrEnum
from types import MappingProxyType, NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from clawd.config.strict import ConfigBroken, Entry
from clawd.policy.setting import Setting

MICROS_IN_USD = 1_000_000

_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,38}")
_TEXT_LIMIT_CHARS = 10_000

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Key:
    """One field as a key of the file."""

    field: str
    name: str
    kind: Any
    setting: Setting


def keys_of(section: type[Any]) -> list[Key]:
    """The keys of a settings class in the order they are written."""
    kinds = get_type_hints(section)
    found = []
    for own in fields(section):
        known: Setting | None = own.metadata.get("setting")
        if known is not None:
            found.append(Key(own.name, known.name or own.name, kinds[own.name], known))
    return found


def read_section(default: S, entry: Entry, path: str) -> S:
    """The default with every key of the entry applied; unknown and unfit ones are refused."""
    given = _mapping(entry, path)
    keys = {key.name: key for key in keys_of(type(default))}
    for name, value in given.items():
        if name not in keys:
            raise _unknown(_join(path, name), value.line, name, list(keys))
    changes = {
        keys[name].field: _value(
            keys[name], getattr(default, keys[name].field), value, _join(path, name)
        )
        for name, value in given.items()
    }
    for key in keys.values():
        if key.setting.required and not changes.get(key.field):
            raise ConfigBroken(f"clawd.yaml line {entry.line}: {_join(path, key.name)} is missing.")
    return replace(default, **changes)  # type: ignore[type-var]


def _value(key: Key, default: Any, entry: Entry, path: str) -> Any:
    kind = key.kind
    if get_origin(kind) in (Union, UnionType):
        kind = next(one for one in get_args(kind) if one is not NoneType)
    if is_dataclass(kind):
        return read_section(default, entry, path)
    if get_origin(kind) is Mapping:
        name_kind, section_kind = get_args(kind)
        return _named_sections(name_kind, section_kind, default, entry, path)
    if get_origin(kind) is tuple:
        return _texts(entry, path)
    return _scalar(key.setting, kind, entry, path)


def _scalar(setting: Setting, kind: type[Any], entry: Entry, path: str) -> Any:
    if issubclass(kind, StrEnum):
        return kind(_choice(entry, path, [str(one) for one in kind]))
    if kind is bool:
        return _bool(entry, path)
    if kind is str:
        text = _text(entry, path)
        return _choice(entry, path, setting.choices) if setting.choices else text
    return _number(setting, kind, entry, path)


def _named_sections(
    name_kind: Any, kind: type[Any], default: Mapping[Any, Any], entry: Entry, path: str
) -> Mapping[Any, Any]:
    """Sections under names: the names of an enum, or slugs the operator chose."""
    found = dict(default)
    for name, value in _mapping(entry, path).items():
        own = _join(path, name)
        if name_kind is str:
            if not _SLUG.fullmatch(name):
                raise ConfigBroken(
                    f"clawd.yaml line {value.line}: {name[:60]!r} is no project name.",
                    "Use lower-case letters, digits and dashes, 39 at most.",
                )
            found[name] = read_section(kind(), value, own)
            continue
        names = [str(one) for one in name_kind]
        if name not in names:
            raise _unknown(own, value.line, name, names)
        found[name_kind(name)] = read_section(default[name_kind(name)], value, own)
    return MappingProxyType(found)


def _mapping(entry: Entry, path: str) -> dict[str, Entry]:
    """A section; one whose keys are all commented out is an empty one."""
    if entry.value is None:
        return {}
    if isinstance(entry.value, dict):
        return entry.value
    raise _unfit(entry, path or "the file", "a mapping of keys")


def _texts(entry: Entry, path: str) -> tuple[str, ...]:
    if entry.value is None:
        return ()
    if not isinstance(entry.value, list):
        raise _unfit(entry, path, "a list of texts")
    return tuple(_text(row, f"{path}[{at}]") for at, row in enumerate(entry.value))


def _text(entry: Entry, path: str) -> str:
    if not isinstance(entry.value, str):
        raise _unfit(entry, path, "text", "Put it in quotes.")
    if "\0" in entry.value or len(entry.value) > _TEXT_LIMIT_CHARS:
        raise _unfit(entry, path, f"text of at most {_TEXT_LIMIT_CHARS} characters")
    return entry.value


def _choice(entry: Entry, path: str, choices: list[str] | tuple[str, ...]) -> str:
    if isinstance(entry.value, str) and entry.value in choices:
        return entry.value
    shown = ", ".join(choice or "''" for choice in choices)
    given = f"{entry.value[:40]!r}" if isinstance(entry.value, str) else entry.kind
    raise ConfigBroken(f"clawd.yaml line {entry.line}: {path} must be one of {shown}, not {given}.")


def _bool(entry: Entry, path: str) -> bool:
    if isinstance(entry.value, bool):
        return entry.value
    raise _unfit(entry, path, "true or false")


def _number(setting: Setting, kind: Any, entry: Entry, path: str) -> int | float:
    value = entry.value
    money = setting.unit == "usd"
    whole = kind is int and not money
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        raise _unfit(entry, path, "a whole number" if whole else "a number", _in_unit(setting))
    least, most = setting.least, setting.most
    if (least is not None and value < least) or (most is not None and value > most):
        bounds = f"at least {least:g}" if most is None else f"between {least or 0:g} and {most:g}"
        raise ConfigBroken(f"clawd.yaml line {entry.line}: {path} must be {bounds}, not {value}.")
    if money:
        return round(value * MICROS_IN_USD)
    number: int | float = kind(value)
    return number


def _in_unit(setting: Setting) -> str:
    return f"The unit is {setting.unit}; write the number alone." if setting.unit else ""


def _unfit(entry: Entry, path: str, wanted: str, remedy: str = "") -> ConfigBroken:
    return ConfigBroken(
        f"clawd.yaml line {entry.line}: {path} must be {wanted}, not {entry.kind}.", remedy
    )


def _unknown(path: str, line: int, name: str, known: list[str]) -> ConfigBroken:
    nearest = max(known, key=lambda one: difflib.SequenceMatcher(None, name[:60], one).ratio())
    return ConfigBroken(
        f"clawd.yaml line {line}: there is no key {path[:120]!r}.",
        f"Did you mean {nearest!r}?",
    )


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
