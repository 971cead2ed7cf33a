"""The list leaves as one text."""

import unittest

from pocket.export import export
from pocket.item import Item


class ExportTest(unittest.TestCase):
    def test_titles_and_links_are_in_the_text(self):
        text = export([Item("Naming", url="https://example.org/naming"), Item("Soup")])
        for part in ("Reading list", "Naming", "https://example.org/naming", "Soup"):
            self.assertIn(part, text)

    def test_an_empty_list_still_has_its_heading(self):
        self.assertIn("Reading list", export([]))
