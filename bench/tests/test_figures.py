"""Statistics of times, errors of answers, doubts about the machine."""

import math
import unittest

from harness import figures


class Summary(unittest.TestCase):
    def test_times_are_ranked(self):
        told = figures.summary([5.0, 1.0, 9.0, 3.0, 7.0, 2.0, 10.0, 4.0, 8.0, 6.0])
        self.assertEqual(told, {"min_ms": 1.0, "median_ms": 5.5, "p90_ms": 9.0, "runs": 10})

    def test_one_time_is_all(self):
        self.assertEqual(figures.summary([4.0]), {"min_ms": 4.0, "median_ms": 4.0, "p90_ms": 4.0, "runs": 1})


class RelativeL2(unittest.TestCase):
    def test_it_is_a_share_of_the_reference(self):
        self.assertAlmostEqual(figures.relative_l2([3.0, 4.5], [3.0, 4.0]), 0.1)
        self.assertEqual(figures.relative_l2([1.0, -2.0], [1.0, -2.0]), 0.0)

    def test_what_cannot_be_compared_is_wrong(self):
        self.assertEqual(figures.relative_l2([1.0], [1.0, 1.0]), math.inf)
        self.assertEqual(figures.relative_l2([1.0, math.nan], [1.0, 1.0]), math.inf)


class Doubts(unittest.TestCase):
    def test_a_quiet_machine_is_trusted(self):
        self.assertEqual(figures.doubts([100.0, 91.0], [0.0, 0.02, 0.9]), [])

    def test_a_peak_that_moves_is_told(self):
        self.assertEqual(figures.doubts([80.0, 100.0, 95.0], [0.0]), ["the peak moved by 20 %"])

    def test_other_processes_are_told(self):
        self.assertEqual(figures.doubts([100.0], [0.5, 0.3, 0.4]), ["other processes took 40 % of a core"])
