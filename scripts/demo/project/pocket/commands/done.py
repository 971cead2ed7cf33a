"""pocket done: marks an item as read."""

from __future__ import annotations

import argparse
from datetime import date

from pocket.shelf import Shelf

HELP = "mark an item as read"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command accepts: the item's number."""
    parser.add_argument("number", type=int)


def run(args: argparse.Namespace, shelf: Shelf) -> list[str]:
    """Marks the item as read today."""
    return [f"read: {shelf.finish(args.number, date.today()).title}"]
