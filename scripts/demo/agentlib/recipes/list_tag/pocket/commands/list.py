"""pocket list: shows the list, or the items with one tag."""

from __future__ import annotations

import argparse

from pocket.shelf import Shelf
from pocket.tags import with_tag
from pocket.text import one_line

HELP = "show the list"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command accepts: a tag to look for."""
    parser.add_argument("--tag", help="only the items with this tag")


def run(args: argparse.Namespace, shelf: Shelf) -> list[str]:
    """One numbered line for each item; a number is the item's own, whatever is shown."""
    shown = with_tag(shelf.items, args.tag) if args.tag else shelf.items
    numbers = {id(item): number for number, item in enumerate(shelf.items, 1)}
    return [f"{numbers[id(item)]:3} {one_line(item)}" for item in shown]
