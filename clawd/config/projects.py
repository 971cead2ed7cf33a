"""Adds a project to the text of clawd.yaml without touching any other line."""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from clawd.config.keys import ProjectSettings
from clawd.config.plain import plain
from clawd.config.reading import keys_of, read_section
from clawd.config.strict import ConfigBroken, compose, read_yaml


def with_project(text: str, slug: str, settings: ProjectSettings) -> str:
    """The text with the project added; comments and every other line stay as they are."""
    before = _projects(text)
    if slug in before:
        raise ConfigBroken(f"clawd.yaml already has a project {slug!r}.")
    end = "\r\n" if "\r\n" in text else "\n"
    section = _projects_node(text)
    lines = text.split(end)
    if section is None:
        body = text.rstrip("\r\n")
        start = [body] if body else []
        new = end.join([*start, "", "projects:", *_block(slug, settings, "  "), ""]).lstrip(end)
    else:
        key, value = section
        at = key.start_mark.line
        if isinstance(value, yaml.MappingNode) and not value.value:
            lines[at] = re.sub(r"\{\s*\}", "", lines[at], count=1).rstrip()
        indent = _indent_of(value)
        new = end.join([*lines[: at + 1], *_block(slug, settings, indent), *lines[at + 1 :]])
    # An edit by lines is only right when the result reads as the old file plus the project.
    if not _reads_as(new, {**before, slug: settings}):
        raise ConfigBroken(
            "clawd cannot add the project to clawd.yaml by itself.",
            f"Write `projects:` on a line of its own and {slug!r} below it.",
        )
    return new


def _projects_node(text: str) -> tuple[yaml.Node, yaml.Node] | None:
    root = compose(text)
    if root is None:
        return None
    if not isinstance(root, yaml.MappingNode):
        raise ConfigBroken("clawd.yaml is no mapping of keys.")
    for key, value in root.value:
        if key.value == "projects":
            return key, value
    return None


def _indent_of(value: yaml.Node) -> str:
    if isinstance(value, yaml.MappingNode) and value.value and not value.flow_style:
        return " " * int(value.value[0][0].start_mark.column)
    return "  "


def _block(slug: str, settings: ProjectSettings, indent: str) -> Iterator[str]:
    """Only what differs from the defaults: later defaults then reach old files."""
    yield f"{indent}{plain(slug)}:"
    for key in keys_of(ProjectSettings):
        value = getattr(settings, key.field)
        if value == getattr(ProjectSettings(), key.field):
            continue
        if isinstance(value, tuple):
            yield f"{indent}  {key.name}:"
            yield from (f"{indent}    - {plain(row)}" for row in value)
        elif isinstance(value, bool | int):
            yield f"{indent}  {key.name}: {str(value).lower()}"
        else:
            yield f"{indent}  {key.name}: {plain(str(value))}"


def _reads_as(text: str, wanted: dict[str, ProjectSettings]) -> bool:
    try:
        return _projects(text) == wanted
    except ConfigBroken:
        return False


def _projects(text: str) -> dict[str, ProjectSettings]:
    entries = read_yaml(text).value
    found = entries.get("projects") if isinstance(entries, dict) else None
    if found is None or not isinstance(found.value, dict):
        return {}
    return {
        slug: read_section(ProjectSettings(), value, f"projects.{slug}")
        for slug, value in found.value.items()
    }
