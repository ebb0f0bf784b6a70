"""Names of networks, and that the tables' networks are what they say."""

import unittest

from harness.networks import TABLE, Network


class Parse(unittest.TestCase):
    def test_a_size_may_follow(self):
        self.assertEqual(Network.parse("a:b=1,c=2@96"), Network("a:b=1,c=2", 96))

    def test_a_size_is_a_number(self):
        with self.assertRaises(ValueError):
            Network.parse("a@b")

    def test_the_tables_networks_have_names(self):
        labels = [Network.parse(text).label for text in TABLE]
        self.assertEqual(labels[0], "CSPDarknet-53 @256")
        self.assertEqual(len(set(labels)), 8)

    def test_files_are_apart(self):
        folders = {Network.parse(text).folder for text in (*TABLE, "resnet50@64")}
        self.assertEqual(len(folders), 9)
        self.assertNotIn(":", Network.parse("a:b=1@8").folder.name)
