"""Tables of answers: who is bold, what the ratio is, what is told of failures."""

import unittest

from harness import tables
from tests.made import configuration, engine, results

WON = configuration([engine("cspnet", (80.04, 81.0)), engine("ncnn", (120.4, 130.0)), engine("MNN", (9876.0, 9999.0))])
LOST = configuration([engine("cspnet", (8.0, 9.0)), engine("ncnn", (4.0, 4.126))], threads=2, label="Other @8")


class Ratio(unittest.TestCase):
    def test_it_is_to_the_fastest_peer(self):
        self.assertAlmostEqual(tables.ratio(WON), 120.4 / 80.04)
        self.assertAlmostEqual(tables.ratio(LOST), 0.5)

    def test_there_is_none_without_peers(self):
        self.assertIsNone(tables.ratio(configuration([engine("cspnet", (1.0, 1.0)), engine("ncnn", error="died")])))


class Full(unittest.TestCase):
    def test_the_fastest_is_bold_whoever_it_is(self):
        text = tables.full(results(WON, LOST))
        self.assertIn("| Net @8 | **80.0** (81.0) | 120 (130) | 9876 (9999) | 1.50 |", text)
        self.assertIn("| Other @8 | 8.00 (9.00) | **4.00** (4.13) |  | 0.50 |", text)

    def test_each_pair_of_threads_and_batch_has_a_table(self):
        text = tables.full(results(WON, LOST, configuration([engine("cspnet", (1.0, 1.0))], threads=2, batch=8)))
        for title in ("| 1 thread, batch 1 |", "| 2 threads, batch 1 |", "| 2 threads, batch 8 |"):
            self.assertIn(title, text)

    def test_a_wrong_answer_is_told_and_not_timed(self):
        wrong = configuration([engine("cspnet", (2.0, 2.0)), engine("MNN", error="wrong answer", relative_l2=0.25)])
        text = tables.full(results(wrong))
        self.assertIn("| Net @8 | **2.00** (2.00) | wrong answer |  |", text)
        self.assertIn("- MNN, Net @8, 1 thread, batch 1: relative error 2.5e-01, not timed.", text)

    def test_memory_is_that_of_the_first_pair(self):
        text = tables.full(results(WON, LOST))
        self.assertIn(
            "| 1 thread, batch 1 | cspnet | ncnn | MNN |\n| --- | --- | --- | --- |\n| Net @8 | 100 | 100 | 100 |", text
        )

    def test_a_failure_is_told(self):
        text = tables.full(
            results(configuration([engine("cspnet", (2.0, 2.0)), engine("MNN", error="ended with status 1")]))
        )
        self.assertIn("| fails |", text)
        self.assertIn("MNN, Net @8, 1 thread, batch 1: ended with status 1, not timed.", text)

    def test_noise_is_marked(self):
        noisy = configuration([engine("cspnet", (2.0, 2.0))], doubts=["the peak moved by 20 %"])
        text = tables.full(results(noisy))
        self.assertIn("| Net @8† |", text)
        self.assertIn("† Net @8, 1 thread, batch 1: the peak moved by 20 %; not to be trusted.", text)


class Short(unittest.TestCase):
    def test_a_row_has_all_threads_with_one_picture(self):
        both = configuration([engine("cspnet", (40.0, 41.0)), engine("MNN", (60.0, 66.0))], threads=2)
        text = tables.short(results(WON, both, configuration([engine("cspnet", (1.0, 1.0))], threads=2, batch=8)))
        self.assertIn("| Net @8 | **80.0** | 120 ncnn | 1.50 | **40.0** | 60.0 MNN | 1.50 |", text)
        self.assertNotIn("batch 8", text)

    def test_a_peer_that_wins_is_bold(self):
        self.assertIn("| Other @8 | 8.00 | **4.00** ncnn | 0.50 |", tables.short(results(LOST)))
