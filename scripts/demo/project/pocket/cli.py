"""The command line: one module in `pocket/commands` for each name in COMMANDS."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from pocket.shelf import Shelf

COMMANDS = (
    "add",
    "list",
    "done",
)


def build_parser() -> argparse.ArgumentParser:
    """The parser with one subcommand for every module in COMMANDS."""
    parser = argparse.ArgumentParser(prog="pocket", description="A reading list.")
    parser.add_argument("--file", type=Path, default=Path("pocket.json"))
    subcommands = parser.add_subparsers(dest="command", required=True)
    for name in COMMANDS:
        module = import_module(f"pocket.commands.{name}")
        subcommand = subcommands.add_parser(name, help=module.HELP)
        module.arguments(subcommand)
        subcommand.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command, prints its lines and saves the list."""
    args = build_parser().parse_args(argv)
    shelf = Shelf(args.file)
    try:
        lines = args.run(args, shelf)
    except LookupError as error:
        print(f"pocket: {error}")
        return 1
    shelf.save()
    for line in lines:
        print(line)
    return 0
