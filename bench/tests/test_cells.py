"""What tables are made of: where they are written, how failures are told."""

import tempfile
import unittest
from pathlib import Path

from harness import cells
from tests.made import configuration, engine


class Write(unittest.TestCase):
    def test_only_what_stands_between_the_marks_changes(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "page.md")
            page = "<!-- other:begin -->\nkept\n<!-- other:end -->\n<!-- one:begin -->{}<!-- one:end -->\nafter\n"
            path.write_text(page.format("\nold\n"))
            for text in ("first", "second"):
                cells.write(path, "one", text)
            self.assertEqual(path.read_text(), page.format("\n\nsecond\n\n"))

    def test_a_page_without_marks_is_an_error(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "page.md")
            path.write_text("<!-- one:begin -->")
            for mark in ("one", "other"):
                with self.assertRaises(ValueError):
                    cells.write(path, mark, "text")
            self.assertEqual(path.read_text(), "<!-- one:begin -->")


class Failures(unittest.TestCase):
    def test_the_first_line_says_why(self):
        died = configuration([engine("MNN", error="RuntimeError: no compiler\nTraceback ...")])
        self.assertEqual(
            cells.failures([died]), ["MNN, Net @8, 1 thread, batch 1: RuntimeError: no compiler, not timed."]
        )
