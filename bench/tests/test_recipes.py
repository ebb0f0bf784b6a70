"""Recipes: what is asked of the program, how long a run took, and what the table says."""

import unittest

from harness import recipes


def _event(event, time):
    return {"event": event, "time": time}


class Seconds(unittest.TestCase):
    def test_time_between_a_stop_and_going_on_is_not_counted(self):
        events = [_event("data", 0.0), _event("begun", 1.0), _event("epoch", 61.0), _event("stopped", 71.0)]
        events += [_event("data", 500.0), _event("resumed", 501.0), _event("finished", 531.5)]
        self.assertEqual(recipes.seconds(events), 100.5)


class Command(unittest.TestCase):
    def test_it_is_one_that_can_be_typed(self):
        command = recipes.RECIPES["cifar10"].command("photos", 3, "runs/a")
        self.assertEqual(command[:5], ["cspnet", "train", "photos", "--network", "cspresnet9"])
        self.assertEqual(command[-3:], ["--seed=3", "--out", "runs/a"])


class Table(unittest.TestCase):
    def test_a_row_for_each_run_and_each_command_once(self):
        run = {
            "recipe": "cifar10",
            "seed": 0,
            "command": "cspnet train DATA",
            "seconds": 90.0,
            "threads": 2,
            "epochs": 16,
            "train_top1": 0.951,
            "validation_top1": 0.9,
            "test": {"right": 934, "of": 1000},
            "test_flip": {"right": 941, "of": 1000},
            "test_flip_shift": {"right": 945, "of": 1000},
            "date": "2026-01-02",
            "commit": "abc",
            "machine": {"cpu": "A CPU", "cores": 4},
        }
        told = recipes.table({"runs": [run, run | {"seed": 1}]})
        shares = "**93.40 %** | 94.10 % | 94.50 % | 95.1 % | 90.0 %"
        self.assertIn(f"| cifar10 | 0 | 16 | {shares} | 1.5 | A CPU, 2 threads | 2026-01-02, abc |", told)
        self.assertEqual(told.count("    cspnet train DATA"), 1)


if __name__ == "__main__":
    unittest.main()
