"""pocket tags: shows every tag with the number of its items."""

from __future__ import annotations

import argparse

from pocket.shelf import Shelf
from pocket.tags import count_tags

HELP = "show the tags"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command accepts: nothing."""


def run(args: argparse.Namespace, shelf: Shelf) -> list[str]:
    """One line for each tag."""
    return [f"{count:3} {tag}" for tag, count in count_tags(shelf.items)]
