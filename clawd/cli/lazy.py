"""A click group that knows its commands by name and imports one only when it is called."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command lives, and its line in the list."""

    module: str
    help: str


Section = Mapping[str, Entry]


class LazyGroup(click.Group):
    """Lists commands by section from a table; `--help` imports none of them."""

    def __init__(self, *args: Any, sections: Mapping[str, Section] | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.sections: Mapping[str, Section] = sections or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for section in self.sections.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for section in self.sections.values():
            if cmd_name in section:
                module = importlib.import_module(f"clawd.cli.{section[cmd_name].module}")
                found: click.Command = getattr(module, f"{cmd_name}_command")
                return found
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        known = self.list_commands(ctx)
        if name not in known and not name.startswith("-"):
            raise click.UsageError(_unknown(name, known), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, section in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([(name, entry.help) for name, entry in section.items()])


def _unknown(name: str, known: Sequence[str]) -> str:
    shown = name if len(name) <= 40 else f"{name[:40]}..."
    near = difflib.get_close_matches(name[:40], known, 1)
    hint = f" Did you mean {near[0]}?" if near else " See clawd --help."
    return f"There is no command {shown!r}.{hint}"
