"""Titles are cut between words."""

import unittest

from pocket.text import shorten


class ShortenTest(unittest.TestCase):
    def test_a_short_text_stays_as_it_is(self):
        self.assertEqual(shorten("Naming", limit_chars=6), "Naming")

    def test_a_long_text_is_cut_between_words(self):
        self.assertEqual(shorten("The art of naming", limit_chars=12), "The art of…")

    def test_one_long_word_is_cut_inside(self):
        self.assertEqual(shorten("abcdefgh", limit_chars=5), "abcd…")

    def test_nothing_is_nothing(self):
        self.assertEqual(shorten("", limit_chars=5), "")
