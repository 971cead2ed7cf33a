"""Writes the commented template and the reference page from the keys themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from enum import StrEnum
from typing import Any, get_args, get_origin

from clawd.config.keys import Config, ProjectSettings
from clawd.config.plain import plain
from clawd.config.reading import MICROS_IN_USD, Key, keys_of

_WIDTH = 96

_TEMPLATE_HEAD = """\
# clawd.yaml: the only configuration of clawd, read once at start.
# Every key is shown with its default: remove the `#` in front of a key to change it.
"""

_PAGE_HEAD = """\
# Configuration

Generated from the code; do not edit. `$CLAWD_HOME/clawd.yaml` is read strictly: an unknown or
repeated key, a wrong type or a number out of bounds is refused with its line. Only `true` and
`false` are booleans, numbers are decimal, nothing else changes its meaning by its shape.

## Environment

| variable | meaning |
|---|---|
| `CLAWD_HOME` | the folder with clawd.yaml and all data; default `~/.clawd` |
| `CLAWD_DATABASE_URL` | a Postgres of your own; without it clawd starts its own |

No other variable changes the configuration.
"""

_EXAMPLE = """\

## Example

```yaml
budget:
  day_usd: 20
agents:
  dev: {count: 5}
projects:
  shop:
    path: ~/code/shop
    test: python3 -m unittest
```
"""


def default_text() -> str:
    """The template `clawd init` writes: valid as it is, and equal to the defaults."""
    lines = [_TEMPLATE_HEAD.rstrip()]
    explained: set[type[Any]] = set()
    for key in keys_of(Config):
        lines += ["", *_comment(key, "")]
        lines += _template(key, getattr(Config(), key.field), "", explained)
    return "\n".join(lines) + "\n"


def _template(key: Key, value: Any, indent: str, explained: set[type[Any]]) -> Iterator[str]:
    """Sections stand uncommented so that a key below them can be uncommented alone."""
    if is_dataclass(value):
        yield f"{indent}{key.name}:"
        yield from _template_keys(value, indent + "  ", explained)
    elif isinstance(value, Mapping):
        yield f"{indent}{key.name}:"
        for name, section in value.items():
            yield f"{indent}  {name}:"
            yield from _template_keys(section, indent + "    ", explained)
        if not value:
            yield from _template_project()
    else:
        yield f"{indent}#{key.name}: {_shown(key, value)}"


def _template_keys(section: Any, indent: str, explained: set[type[Any]]) -> Iterator[str]:
    """The keys of a section; sections alike are explained once, at the first of them."""
    explain = type(section) not in explained
    explained.add(type(section))
    for key in keys_of(type(section)):
        if explain:
            yield from _comment(key, indent)
        yield from _template(key, getattr(section, key.field), indent, explained)


def _template_project() -> Iterator[str]:
    yield "  #shop:"
    for key in keys_of(ProjectSettings):
        shown = "~/code/shop" if key.setting.required else _shown_default(key)
        yield f"  #  {key.name}: {shown}"


def _comment(key: Key, indent: str) -> Iterator[str]:
    text = _sentence(key)
    line = ""
    for word in text.split():
        if line and len(indent) + len(line) + len(word) + 3 > _WIDTH:
            yield f"{indent}# {line}"
            line = word
        else:
            line = f"{line} {word}".strip()
    yield f"{indent}# {line}"


def _sentence(key: Key) -> str:
    notes = _notes(key)
    return f"{key.setting.doc} ({notes})" if notes else key.setting.doc


def _notes(key: Key) -> str:
    found = [key.setting.unit] if key.setting.unit else []
    choices = _choices(key)
    if choices:
        found.append(" | ".join(choices))
    return "; ".join(found)


def _choices(key: Key) -> tuple[str, ...]:
    if key.setting.choices:
        return tuple(choice or "''" for choice in key.setting.choices)
    for kind in (key.kind, *get_args(key.kind)):
        if isinstance(kind, type) and issubclass(kind, StrEnum) and get_origin(key.kind) is None:
            return tuple(str(one) for one in kind)
    return ()


def _shown(key: Key, value: Any) -> str:
    """A value as it is written in the file."""
    if key.setting.unit == "usd":
        return f"{value / MICROS_IN_USD:g}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(plain(str(row)) for row in value) + "]"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if isinstance(value, int) else plain(str(value))


def _shown_default(key: Key) -> str:
    value = getattr(ProjectSettings(), key.field)
    return _shown(key, Config().landing if value is None else value)


def reference_markdown() -> str:
    """docs/configuration.md: every key with its default, unit, bounds and meaning."""
    parts = [_PAGE_HEAD]
    top = [key for key in keys_of(Config) if not _is_section(getattr(Config(), key.field))]
    parts.append(_table("Top level", "", top, Config()))
    for key in keys_of(Config):
        value = getattr(Config(), key.field)
        if not _is_section(value):
            continue
        parts += list(_section_pages(key, value))
    parts.append(_EXAMPLE)
    return "\n".join(parts)


def _is_section(value: Any) -> bool:
    return is_dataclass(value) or isinstance(value, Mapping)


def _section_pages(key: Key, value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        sample = value or {"NAME": ProjectSettings()}
        for name, section in sample.items():
            heading = f"{key.name}.{name}"
            yield _table(heading, key.setting.doc, keys_of(type(section)), section)
        return
    inner = keys_of(type(value))
    if any(is_dataclass(getattr(value, one.field)) for one in inner):
        for one in inner:
            section = getattr(value, one.field)
            heading = f"{key.name}.{one.name}"
            yield _table(heading, one.setting.doc, keys_of(type(section)), section)
        return
    yield _table(key.name, key.setting.doc, inner, value)


def _table(heading: str, doc: str, keys: list[Key], section: Any) -> str:
    rows = [f"## {heading}", ""]
    if doc:
        rows += [doc, ""]
    rows += ["| key | default | unit | bounds | meaning |", "|---|---|---|---|---|"]
    for key in keys:
        value = getattr(section, key.field)
        default = "as above" if value is None else f"`{_shown(key, value)}`"
        default = "required" if key.setting.required else default
        meaning = key.setting.doc.replace("|", "\\|")
        rows.append(
            f"| `{key.name}` | {default} | {key.setting.unit} | {_bounds(key)} | {meaning} |"
        )
    return "\n".join([*rows, ""])


def _bounds(key: Key) -> str:
    least, most = key.setting.least, key.setting.most
    if _choices(key):
        return ", ".join(f"`{choice}`" for choice in _choices(key))
    if least is not None and most is not None:
        return f"{_count(least)} to {_count(most)}"
    return f"at least {_count(least)}" if least is not None else ""


def _count(number: float) -> str:
    return f"{number:,.0f}" if number == int(number) else f"{number:g}"
