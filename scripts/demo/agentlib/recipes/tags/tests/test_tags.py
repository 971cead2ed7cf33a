"""Tags are counted and found."""

import unittest

from pocket.cli import COMMANDS
from pocket.item import Item
from pocket.tags import count_tags, with_tag

ITEMS = [Item("Naming", tags=["craft"]), Item("Trees", tags=["craft", "garden"]), Item("Soup")]


class TagsTest(unittest.TestCase):
    def test_the_most_used_tag_comes_first(self):
        self.assertEqual(count_tags(ITEMS), [("craft", 2), ("garden", 1)])

    def test_only_items_with_the_tag_are_found(self):
        self.assertEqual([item.title for item in with_tag(ITEMS, "garden")], ["Trees"])

    def test_an_empty_list_has_no_tags(self):
        self.assertEqual(count_tags([]), [])
        self.assertEqual(with_tag([], "craft"), [])

    def test_the_command_is_there(self):
        self.assertIn("tags", COMMANDS)
