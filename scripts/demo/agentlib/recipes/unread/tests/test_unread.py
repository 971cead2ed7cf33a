"""Unread items are listed by age."""

import unittest
from datetime import date

from pocket.item import Item
from pocket.unread import lines, unread

OLD, NEW = Item("Old", added=date(2026, 1, 1)), Item("New", added=date(2026, 2, 1))
READ = Item("Read", added=date(2025, 1, 1), read=date(2025, 2, 1))


class UnreadTest(unittest.TestCase):
    def test_the_oldest_comes_first_and_read_items_are_left_out(self):
        self.assertEqual(unread([NEW, READ, OLD]), [OLD, NEW])

    def test_a_line_holds_day_and_title(self):
        self.assertEqual(lines([OLD]), ["2026-01-01  Old"])

    def test_a_long_title_fits(self):
        self.assertLessEqual(len(lines([Item("word " * 40)])[0]), 52)

    def test_an_empty_list_has_no_lines(self):
        self.assertEqual(unread([]), [])
        self.assertEqual(lines([]), [])
