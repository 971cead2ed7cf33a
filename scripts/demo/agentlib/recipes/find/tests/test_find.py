"""Words find items."""

import unittest

from pocket.cli import COMMANDS
from pocket.item import Item
from pocket.search import holding

ITEMS = [Item("The art of naming"), Item("Trees", note="an old art"), Item("Soup")]


class FindTest(unittest.TestCase):
    def test_title_and_note_are_searched(self):
        self.assertEqual(holding(ITEMS, ["ART"]), ITEMS[:2])

    def test_every_word_must_be_there(self):
        self.assertEqual(holding(ITEMS, ["old", "art"]), [ITEMS[1]])

    def test_an_empty_list_has_no_hits(self):
        self.assertEqual(holding([], ["art"]), [])

    def test_the_command_is_there(self):
        self.assertIn("find", COMMANDS)
