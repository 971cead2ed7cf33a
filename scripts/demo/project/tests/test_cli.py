"""The commands work together on one file."""

import contextlib
import io
import tempfile
import unittest
from pathlib import Path

from pocket.cli import COMMANDS, build_parser, main


class CliTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = str(Path(folder.name) / "pocket.json")

    def run_pocket(self, *words):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            code = main(["--file", self.file, *words])
        return code, output.getvalue()

    def test_what_was_added_is_listed_and_can_be_finished(self):
        self.run_pocket("add", "Naming", "--tag", "craft")
        self.run_pocket("done", "1")
        self.assertEqual(self.run_pocket("list"), (0, "  1 [x] Naming\n"))

    def test_an_unknown_number_is_an_answer_not_a_crash(self):
        self.assertEqual(self.run_pocket("done", "7"), (1, "pocket: there is no item 7\n"))

    def test_every_command_is_in_the_help(self):
        usage = build_parser().format_help()
        for name in COMMANDS:
            self.assertIn(name, usage)
