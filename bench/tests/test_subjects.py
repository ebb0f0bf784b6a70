"""What is measured: the networks of the tables, and the pairs of threads and batch."""

import unittest

from harness.networks import Network
from harness.subjects import ANSWERS, TRAINING


def measured(subject, texts, threads=None, batches=None):
    networks = {text: Network.parse(text) for text in texts}
    told = subject.configurations(networks, threads, batches)
    return [(configuration.network.spec, configuration.threads, configuration.batch) for configuration in told]


class Networks(unittest.TestCase):
    def test_those_of_the_tables_have_names(self):
        for subject, count in ((ANSWERS, 8), (TRAINING, 5)):
            labels = [Network.parse(text).label for text in subject.networks]
            self.assertEqual(len(set(labels)), count)
            self.assertEqual(labels[0].partition(" ")[0], "CSPDarknet-53")

    def test_files_are_apart(self):
        texts = {*ANSWERS.networks, *TRAINING.networks}
        self.assertEqual(len({Network.parse(text).folder for text in texts}), len(texts))


class Configurations(unittest.TestCase):
    def test_a_network_of_the_tables_has_its_own_batch(self):
        deep = "densenet_bc:depth=100,growth=12"
        self.assertEqual(measured(TRAINING, [f"{deep}@32"]), [(deep, 1, 64), (deep, 2, 64)])
        self.assertEqual(measured(TRAINING, ["a@32"]), [("a", 1, 8), ("a", 2, 8)])
        self.assertEqual(measured(ANSWERS, ["a@32"]), [("a", 1, 1), ("a", 2, 1), ("a", 2, 8)])

    def test_what_is_asked_for_replaces_it(self):
        self.assertEqual(measured(ANSWERS, ["a@8"], threads=[2]), [("a", 2, 1)])
        self.assertEqual(measured(TRAINING, ["a@8"], batches=[2]), [("a", 1, 2), ("a", 2, 2)])
        self.assertEqual(measured(TRAINING, ["a@8"], threads=[3]), [("a", 3, 8)])
        self.assertEqual(measured(ANSWERS, ["a@8"], [1], [4, 8]), [("a", 1, 4), ("a", 1, 8)])
