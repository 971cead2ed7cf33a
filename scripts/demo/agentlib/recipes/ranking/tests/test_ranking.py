"""The title counts more than the note."""

import argparse
import unittest
from pathlib import Path

from pocket.commands.find import run
from pocket.item import Item
from pocket.ranking import ranked
from pocket.shelf import Shelf

NOTE, TITLE = Item("Trees", note="an old art"), Item("The art of naming")


class RankingTest(unittest.TestCase):
    def test_a_hit_in_the_title_comes_first(self):
        self.assertEqual(ranked([NOTE, TITLE], ["Art"]), [TITLE, NOTE])

    def test_equals_keep_their_order(self):
        self.assertEqual(ranked([NOTE, TITLE], ["sea"]), [NOTE, TITLE])

    def test_an_empty_list_stays_empty(self):
        self.assertEqual(ranked([], ["art"]), [])

    def test_the_command_shows_the_best_hit_first(self):
        shelf = Shelf(Path("there-is-no-such-file.json"))
        shelf.items = [NOTE, TITLE]
        self.assertIn("naming", run(argparse.Namespace(words=["art"]), shelf)[0])
