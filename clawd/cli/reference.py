"""Writes the reference of every command from the commands themselves."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from typing import Any, get_args, get_origin, get_type_hints

import click

from clawd.cli import show
from clawd.cli.lazy import LazyGroup
from clawd.cli.verbs import Verb

_HEAD = """\
# Commands

<!-- written by make docs from the commands themselves -->

Every command takes `--help`, with examples, and every answer is plain text when it is piped or
`NO_COLOR` is set. With `--json` it is one JSON object whose keys stay: they are listed below, times
are ISO 8601, and money is told as whole micro-dollars (`cost_micros`) and as dollars (`cost_usd`).
What failed is one object, too: `error`, `remedy` and `exit_code`.

Exit codes: 0 ok, 1 the answer is no, 2 usage, 3 not running, 4 refused by policy.

`clawd --home PATH` or `CLAWD_HOME` names the home, `~/.clawd` otherwise. Read commands need no
daemon: they start the home's database when it is down and stop it again."""


def markdown() -> str:
    """The whole of docs/commands.md: every verb with options, examples and JSON keys."""
    from clawd.cli.main import cli  # noqa: PLC0415

    context = click.Context(cli, info_name="clawd")
    parts = [_HEAD]
    for title, section in cli.sections.items() if isinstance(cli, LazyGroup) else ():
        parts.append(f"## {title}")
        for name in section:
            command = cli.get_command(context, name)
            assert command is not None  # noqa: S101 - a test proves that each name is there
            parts += [_page(found, path) for path, found in walk(command, f"clawd {name}")]
    return "\n\n".join(parts) + "\n"


def walk(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """A command and everything under it, with the words that call it."""
    yield path, command
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            under = command.get_command(click.Context(command), name)
            if under is not None:
                yield from walk(under, f"{path} {name}")


def everything() -> list[tuple[str, click.Command]]:
    """Every command there is."""
    from clawd.cli.main import cli  # noqa: PLC0415

    found: list[tuple[str, click.Command]] = []
    for name in cli.list_commands(click.Context(cli)):
        command = cli.get_command(click.Context(cli), name)
        if command is not None:
            found += walk(command, f"clawd {name}")
    return found


def _page(command: click.Command, path: str) -> str:
    context = click.Context(command, info_name=path)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    parts = [f"### `{usage}`", _text(command)]
    options = [row for row in map(_option, command.params) if row]
    if options and not isinstance(command, click.Group):
        parts.append("\n".join(options))
    if isinstance(command, Verb):
        if command.examples:
            parts.append("```\n" + "\n".join(command.examples) + "\n```")
        if command.shape is not None:
            parts.append("JSON:\n\n" + "\n".join(_keys(command.shape)))
    return "\n\n".join(part for part in parts if part)


def _text(command: click.Command) -> str:
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    return "\n\n".join(" ".join(part.split()) for part in paragraphs)


def _keys(shape: type, path: str = "") -> Iterator[str]:
    """The keys of an answer, and those of what is nested in it, one line each."""
    keys = ", ".join(f"`{key}`" for key in show.keys_of(shape))
    yield f"- {f'`{path}`: ' if path else ''}{keys}"
    for name, kind in get_type_hints(shape).items():
        inner = get_args(kind)
        each: Any = inner[0] if get_origin(kind) is list else None
        if isinstance(each, type) and dataclasses.is_dataclass(each):
            yield from _keys(each, f"{path}{'.' if path else ''}{name}[]")
        for one in (kind, *inner) if get_origin(kind) is not list else ():
            if isinstance(one, type) and dataclasses.is_dataclass(one):
                yield from _keys(one, f"{path}{'.' if path else ''}{name}")


def _option(param: click.Parameter) -> str:
    if not isinstance(param, click.Option) or param.hidden:
        return ""
    names = ", ".join(f"`{name}`" for name in param.opts)
    takes = "" if param.is_flag else f" {param.metavar or 'NUMBER'}"
    if isinstance(param.type, click.Choice):
        takes = " " + "|".join(str(choice) for choice in param.type.choices)
    default = f" Default: {param.default}." if param.show_default else ""
    return f"- {names}{takes}: {param.help or 'The number of rows.'}{default}"
