"""The list can be narrowed to one tag."""

import argparse
import unittest
from pathlib import Path

from pocket.commands.list import run
from pocket.item import Item
from pocket.shelf import Shelf


class ListTagTest(unittest.TestCase):
    def setUp(self):
        self.shelf = Shelf(Path("there-is-no-such-file.json"))
        self.shelf.items = [Item("Naming", tags=["craft"]), Item("Trees", tags=["garden"])]

    def test_an_item_keeps_its_number(self):
        self.assertEqual(run(argparse.Namespace(tag="garden"), self.shelf), ["  2 [ ] Trees"])

    def test_without_a_tag_everything_is_shown(self):
        self.assertEqual(len(run(argparse.Namespace(tag=None), self.shelf)), 2)

    def test_an_unknown_tag_shows_nothing(self):
        self.assertEqual(run(argparse.Namespace(tag="sea"), self.shelf), [])
