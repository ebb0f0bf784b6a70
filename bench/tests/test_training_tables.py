"""Tables of training: which mode of PyTorch counts, what threads gain, whose memory is compared, what does not fit."""

import unittest

from harness import training_tables as tables
from tests.made import depth, engine, trained, training

ONE = trained(
    [
        engine("cspnet", (100.0, 101.0), peak_rss_bytes=300_000_000),
        engine("PyTorch", (300.0, 310.0), peak_rss_bytes=900_000_000),
        engine("PyTorch channels last", (250.0, 270.0), peak_rss_bytes=1_000_000_000),
        engine("PyTorch compiled", (90.04, 95.0), peak_rss_bytes=800_000_000),
    ]
)
TWO = trained(
    [
        engine("cspnet", (50.0, 51.0), peak_rss_bytes=360_000_000),
        engine("PyTorch", (200.0, 210.0), peak_rss_bytes=900_000_000),
        engine("PyTorch channels last", (225.0, 230.0), peak_rss_bytes=1_000_000_000),
        engine("PyTorch compiled", error="no compiler"),
    ],
    threads=2,
)
FITS = depth(
    40,
    engine("cspnet", peak_rss_bytes=200_000_000, loaded_rss_bytes=10_000_000),
    engine("PyTorch", peak_rss_bytes=1_600_000_000, loaded_rss_bytes=700_000_000),
)
TOO_LARGE = depth(
    220,
    engine("cspnet", peak_rss_bytes=900_000_000),
    engine("PyTorch", error="RuntimeError: can't allocate memory: you tried to allocate 9 bytes", free_bytes=8e9),
)


class Ratios(unittest.TestCase):
    def test_the_better_mode_is_eager(self):
        self.assertEqual(tables.better_mode(ONE)["engine"], "PyTorch channels last")
        self.assertAlmostEqual(tables.ratio(ONE), 2.5)
        self.assertAlmostEqual(tables.ratio(TWO), 4.0)

    def test_there_is_none_without_a_mode(self):
        alone = trained([engine("cspnet", (1.0, 1.0)), engine("PyTorch", error="died")])
        self.assertIsNone(tables.ratio(alone))
        self.assertIsNone(tables.memory_share(alone["engines"]))

    def test_memory_is_that_of_the_leaner_format(self):
        self.assertAlmostEqual(tables.memory_share(TWO["engines"]), 0.4)

    def test_scaling_needs_both(self):
        self.assertAlmostEqual(tables.scaling(ONE, TWO, tables.better_mode), 1.25)
        self.assertIsNone(tables.scaling(None, TWO, tables.better_mode))


class Full(unittest.TestCase):
    def test_a_compiled_step_that_wins_is_bold_and_has_a_ratio_of_its_own(self):
        text = tables.full(training(ONE, TWO))
        self.assertIn("| Net @8 | 8 | 100 (101) | 300 (310) | 250 (270) | **90.0** (95.0) | 2.50 | 0.90 |", text)

    def test_more_threads_have_what_they_gain(self):
        text = tables.full(training(ONE, TWO))
        self.assertIn("| 1 to 2 threads: cspnet | PyTorch |", text)
        self.assertIn("| Net @8 | 8 | **50.0** (51.0) | 200 (210) | 225 (230) | fails | 4.00 |  | 2.00 | 1.25 |", text)
        self.assertIn("- PyTorch compiled, Net @8, 2 threads, batch 8: no compiler, not timed.", text)

    def test_memory_is_that_with_the_most_threads(self):
        self.assertIn("| Net @8, batch 8 | 360 | 900 | 1000 |  | 0.40 |", tables.full(training(ONE, TWO)))

    def test_what_does_not_fit_is_told(self):
        text = tables.full(training(ONE, depths=[FITS, TOO_LARGE]))
        self.assertIn("| 40 | 200 | 1600 | 0.12 |", text)
        self.assertIn("| 220 | 900 | does not fit |  |", text)
        self.assertIn("two steps. PyTorch has 700 MB of it before its first step.", text)
        self.assertIn("- PyTorch, depth 220: 8.0 GB were free; RuntimeError: can't allocate memory", text)

    def test_losses_are_told(self):
        told = "The losses of the first 3 steps, between which they change by 25 % or more, differ"
        self.assertIn(told, tables.full(training(ONE)))

    def test_noise_is_marked(self):
        text = tables.full(training(trained(ONE["engines"], doubts=["the peak moved by 20 %"])))
        self.assertIn("| Net @8† |", text)
        self.assertIn("† Net @8, 1 thread, batch 8: the peak moved by 20 %; not to be trusted.", text)


class Short(unittest.TestCase):
    def test_a_row_has_all_threads_and_memory(self):
        text = tables.short(training(ONE, TWO))
        self.assertIn("| Net @8, 8 | **100** | 250 | 2.50 | **50.0** | 200 | 4.00 | 360 | 900 | 0.40 |", text)

    def test_a_mode_that_wins_is_bold(self):
        lost = trained([engine("cspnet", (8.0, 8.0)), engine("PyTorch", (4.0, 4.0))])
        self.assertIn("| 8.00 | **4.00** | 0.50 |", tables.short(training(lost)))
