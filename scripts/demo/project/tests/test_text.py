"""An item fits on one line."""

import unittest
from datetime import date

from pocket.item import Item
from pocket.text import one_line


class OneLineTest(unittest.TestCase):
    def test_an_unread_item_has_an_empty_box(self):
        self.assertEqual(one_line(Item("Naming")), "[ ] Naming")

    def test_a_read_item_has_a_crossed_box(self):
        self.assertEqual(one_line(Item("Naming", read=date(2026, 1, 9))), "[x] Naming")

    def test_a_long_title_is_cut(self):
        line = one_line(Item("word " * 40))
        self.assertLessEqual(len(line), 64)
        self.assertTrue(line.endswith("…"))
