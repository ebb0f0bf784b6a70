"""Names of networks."""

import unittest

from harness.networks import Network


class Parse(unittest.TestCase):
    def test_a_size_may_follow(self):
        self.assertEqual(Network.parse("a:b=1,c=2@96"), Network("a:b=1,c=2", 96))

    def test_a_size_is_a_number(self):
        with self.assertRaises(ValueError):
            Network.parse("a@b")

    def test_only_what_tables_name_has_a_title(self):
        self.assertEqual(Network.parse("resnet50@64").label, "ResNet-50 @64")
        self.assertEqual(Network.parse("a:b=1@8").label, "a:b=1 @8")

    def test_folders_have_no_colons(self):
        self.assertNotIn(":", Network.parse("a:b=1@8").folder.name)
