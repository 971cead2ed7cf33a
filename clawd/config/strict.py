"""Reads YAML without its surprises and keeps the line of every key."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from clawd.errors import UsageError

FILE_LIMIT_BYTES = 256_000
NODE_LIMIT = 20_000
DEPTH_LIMIT = 20

Scalar = str | int | float | bool | None

_TAG = "tag:yaml.org,2002:"


class ConfigBroken(UsageError):
    """clawd.yaml cannot be used as it stands."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A value and the line (1-based) a reader would look at to find it."""

    line: int
    value: Scalar | list[Entry] | dict[str, Entry]

    @property
    def kind(self) -> str:
        """What a person would call it."""
        names = {dict: "a mapping", list: "a list", str: "text", bool: "true or false"}
        if self.value is None:
            return "nothing"
        return names.get(type(self.value), "a number")


class StrictLoader(yaml.SafeLoader):
    """SafeLoader that knows plain numbers, true, false and null, and nothing else by shape."""

    # An own table: the one of the parent class turns `on`, `22:30` and dates into surprises.
    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 - the name PyYAML reads


for _name, _pattern, _first in (
    ("bool", r"(?:true|false)", "tf"),
    ("null", r"(?:null|~|)", ["n", "~", ""]),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(?:0|[1-9][0-9]*)\.[0-9]+", "-+0123456789"),
):
    StrictLoader.add_implicit_resolver(_TAG + _name, re.compile(f"^{_pattern}$"), list(_first))


def read_yaml(text: str) -> Entry:
    """The document as entries with lines; an empty one is an empty mapping."""
    root = compose(text)
    if root is None:
        return Entry(1, {})
    return _Walk().entry(root, root.start_mark.line + 1, 0)


def compose(text: str) -> yaml.Node | None:
    """The node tree of the one document in the text, or ConfigBroken in one sentence."""
    if len(text.encode("utf-8", "surrogatepass")) > FILE_LIMIT_BYTES:
        raise ConfigBroken(f"clawd.yaml is larger than {FILE_LIMIT_BYTES // 1000} kB.")
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=StrictLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" line {mark.line + 1}" if mark else ""
        problem = error.problem or error.context or "it cannot be read"
        raise ConfigBroken(f"clawd.yaml{where} is not YAML: {problem}.") from None
    except yaml.YAMLError:
        raise ConfigBroken("clawd.yaml holds characters that are not text.") from None
    except RecursionError:
        raise ConfigBroken("clawd.yaml is nested too deeply.") from None
    return node


class _Walk:
    """Turns nodes into entries; aliases count each time, so a bomb of them ends here."""

    def __init__(self) -> None:
        self.nodes = 0

    def entry(self, node: yaml.Node, line: int, depth: int) -> Entry:
        self.nodes += 1
        if self.nodes > NODE_LIMIT:
            raise ConfigBroken(f"clawd.yaml holds more than {NODE_LIMIT} values.")
        if depth > DEPTH_LIMIT:
            raise ConfigBroken(f"clawd.yaml line {line} is nested too deeply.")
        if isinstance(node, yaml.MappingNode):
            return Entry(line, self.mapping(node, depth))
        if isinstance(node, yaml.SequenceNode):
            rows = [self.entry(row, row.start_mark.line + 1, depth + 1) for row in node.value]
            return Entry(line, rows)
        return Entry(line, _scalar(node, line))

    def mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigBroken(f"clawd.yaml line {line}: a key must be plain text.")
            key = str(key_node.value)
            if key in found:
                first = found[key].line
                raise ConfigBroken(
                    f"clawd.yaml line {line}: the key {key[:60]!r} is already on line {first}.",
                    "Keep one of the two.",
                )
            found[key] = self.entry(value_node, line, depth + 1)
        return found


def _scalar(node: yaml.Node, line: int) -> Scalar:
    tag, text = node.tag.removeprefix(_TAG), str(node.value)
    try:
        match tag:
            case "str":
                return text
            case "null":
                return None
            case "bool":
                return {"true": True, "false": False}[text]
            case "int":
                return int(text)
            case "float":
                return float(text)
    except (ValueError, KeyError):
        raise ConfigBroken(f"clawd.yaml line {line}: {text[:40]!r} is no {tag}.") from None
    raise ConfigBroken(f"clawd.yaml line {line}: the tag {node.tag!r} is not used here.")
