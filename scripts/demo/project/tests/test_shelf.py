"""The list keeps what it is given."""

import tempfile
import unittest
from datetime import date
from pathlib import Path

from pocket.item import Item
from pocket.shelf import Shelf


class ShelfTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "pocket.json"

    def test_a_saved_list_is_loaded_again(self):
        shelf = Shelf(self.path)
        shelf.add(Item("Naming", tags=["craft"], added=date(2026, 1, 5)))
        shelf.finish(1, date(2026, 1, 9))
        shelf.save()
        self.assertEqual(Shelf(self.path).items, shelf.items)

    def test_an_unknown_number_is_refused(self):
        with self.assertRaises(LookupError):
            Shelf(self.path).finish(1, date(2026, 1, 9))
