"""pocket list: shows the list."""

from __future__ import annotations

import argparse

from pocket.shelf import Shelf
from pocket.text import one_line

HELP = "show the list"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command accepts: nothing."""


def run(args: argparse.Namespace, shelf: Shelf) -> list[str]:
    """One numbered line for each item."""
    return [f"{number:3} {one_line(item)}" for number, item in enumerate(shelf.items, 1)]
