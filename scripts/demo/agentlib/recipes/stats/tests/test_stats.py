"""What was read is counted by week."""

import unittest
from datetime import date

from pocket.item import Item
from pocket.stats import average_per_week, per_week

ITEMS = [
    Item("Naming", read=date(2026, 1, 6)),
    Item("Trees", read=date(2026, 1, 9)),
    Item("Soup", read=date(2026, 1, 14)),
    Item("Unread"),
]


class StatsTest(unittest.TestCase):
    def test_items_are_counted_by_week(self):
        self.assertEqual(per_week(ITEMS), {"2026-W02": 2, "2026-W03": 1})

    def test_the_average_counts_weeks_with_reading(self):
        self.assertEqual(average_per_week(ITEMS), 1.5)
