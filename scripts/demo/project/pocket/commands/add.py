"""pocket add: puts something on the list."""

from __future__ import annotations

import argparse
from datetime import date

from pocket.item import Item
from pocket.shelf import Shelf

HELP = "put something on the list"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command accepts."""
    parser.add_argument("title")
    parser.add_argument("--url", default="")
    parser.add_argument("--note", default="")
    parser.add_argument("--tag", action="append", default=[])


def run(args: argparse.Namespace, shelf: Shelf) -> list[str]:
    """Adds the item and says its number."""
    item = Item(args.title, args.url, args.note, args.tag, date.today())
    return [f"added {shelf.add(item)}: {item.title}"]
