"""pocket find: lists the items that hold every word."""

from __future__ import annotations

import argparse

from pocket.search import holding
from pocket.shelf import Shelf
from pocket.text import one_line

HELP = "find items by words"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command accepts: one word or more."""
    parser.add_argument("words", nargs="+")


def run(args: argparse.Namespace, shelf: Shelf) -> list[str]:
    """One line for each hit."""
    return [one_line(item) for item in holding(shelf.items, args.words)]
