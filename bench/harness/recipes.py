"""Recipes: a network, its data and its flags; how a run by one came out; and the table of such runs in docs/recipes.md.

A run is what a user has: `cspnet train`, then `cspnet eval` on the test photos, which decide nothing before.
"""

import argparse
import datetime
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from . import cells, environment

RESULTS = environment.BENCH / "results" / "recipes.json"
DOCUMENT = environment.ROOT / "docs" / "recipes.md"


@dataclass(frozen=True)
class Recipe:
    """How a data set is learnt; `data` is where it comes from."""

    name: str
    network: str
    data: str
    flags: tuple[str, ...]

    def command(self, data, seed, folder, program="cspnet"):
        return [str(program), "train", str(data), "--network", self.network, *self.flags, f"--seed={seed}", "--out", str(folder)]


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "cifar10",
            "cspresnet9",
            "https://huggingface.co/datasets/uoft-cs/cifar10",
            # As many epochs as fit into the hour on any machine; the schedule is that of 30. Views are those of the papers: a mirror
            # image or not, moved by up to four pixels, and in half of the batches a part of another photo. A hundredth of the training
            # photos shows on the way how it goes.
            (
                "--time-budget=58m",
                "--epochs=30",
                "--batch-size=256",
                "--optimizer=muon",
                "--lr=0.008",
                "--momentum=0.9",
                "--weight-decay=0.15",
                "--warmup-epochs=1",
                "--crop-padding=4",
                "--color-jitter=0",
                "--mixup=0",
                "--cutmix=1",
                "--mixup-prob=0.5",
                "--alternate-flip",
                "--model-ema-decay=0.99",
                "--validation-share=0.01",
                "--whiten-stem",
                "--freeze-to=stem",
            ),
        ),
    )
}


def main():
    """Runs the command; gives its exit status."""
    arguments = _arguments()
    if not arguments.table_only:
        recipe = RECIPES[arguments.recipe]
        environment.build_program()
        for seed in arguments.seeds:
            folder = arguments.runs / f"{recipe.name}-{seed}"
            if not (folder / "config.json").exists():
                command = recipe.command(arguments.data, seed, folder, environment.PROGRAM)
                subprocess.run(command, check=True)
            _keep(judged(recipe, arguments.data, seed, folder))
    cells.write(DOCUMENT, "runs", table(json.loads(RESULTS.read_text())))
    return 0


def _arguments():
    parser = argparse.ArgumentParser(
        prog="bench/recipe",
        description="Trains by a recipe and judges the last model on the test photos; writes bench/results/recipes.json, and from "
        "it the table in docs/recipes.md. A run that is there already is only judged. Nothing else should run meanwhile, for the "
        "time is written down as well.",
    )
    parser.add_argument("recipe", nargs="?", choices=RECIPES, default=next(iter(RECIPES)))
    parser.add_argument("data", nargs="?", type=Path, help="the recipe's data set, as `cspnet train` takes it")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="SEED")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="FOLDER", help="where runs are (default: runs)")
    parser.add_argument("--table-only", action="store_true", help="write the table of the JSON file again")
    arguments = parser.parse_args()
    if arguments.data is None and not arguments.table_only:
        parser.error("where is the data set?")
    return arguments


def judged(recipe, data, seed, folder):
    """What came of a run that has ended."""
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    if events[-1]["event"] != "finished":
        sys.exit(f"{folder}: has not ended; `cspnet resume {folder}` goes on")
    begun = next(event for event in events if event["event"] == "begun")
    last = next(event for event in reversed(events) if event["event"] == "epoch")
    return {
        "recipe": recipe.name,
        "seed": seed,
        "command": " ".join(recipe.command("DATA", seed, "RUN")),
        "seconds": seconds(events),
        "threads": begun["threads"],
        "epochs": last["epoch"],
        "train_top1": last["train_top1"],
        "validation_top1": last["val_top1"],
        "test": _right(folder, data),
        "test_flip": _right(folder, data, "--tta=flip"),
        "test_flip_shift": _right(folder, data, "--tta=flip-shift"),
        "date": datetime.date.fromtimestamp(events[-1]["time"]).isoformat(),
        "commit": environment.commit(),
        "machine": environment.machine(),
    }


def seconds(events):
    """From the beginning of a run to its end, without the time between a stop and going on."""
    total, since = 0.0, None
    for event in events:
        if event["event"] in ("begun", "resumed"):
            since = event["time"]
        elif event["event"] in ("stopped", "finished"):
            total += event["time"] - since
    return total


def _right(folder, data, *flags):
    command = [environment.PROGRAM, "eval", folder / "last.safetensors", data, "--split=test", "--json", *flags]
    told = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout
    top1 = json.loads(told)["top1"]
    return {"right": top1["right"], "of": top1["of"]}


def _keep(run):
    """Adds a run to the file, in the place of an older one of the same recipe and seed."""
    runs = json.loads(RESULTS.read_text())["runs"] if RESULTS.exists() else []
    others = [r for r in runs if (r["recipe"], r["seed"]) != (run["recipe"], run["seed"])]
    runs = sorted([*others, run], key=lambda r: (r["recipe"], r["seed"]))
    RESULTS.write_text(json.dumps({"runs": runs}, indent=1) + "\n")


def table(results):
    """All runs: accuracy, time, and what one needs to have the same."""
    head = [
        "recipe",
        "seed",
        "epochs",
        "test accuracy",
        "with mirror images",
        "moved as well",
        "last epoch: learnt from",
        "set aside",
        "minutes",
        "machine",
        "date, commit",
    ]
    rows = [
        [
            run["recipe"],
            str(run["seed"]),
            str(run["epochs"]),
            f"**{_share(run['test'])}**",
            _share(run["test_flip"]),
            _share(run["test_flip_shift"]),
            f"{100 * run['train_top1']:.1f} %",
            f"{100 * run['validation_top1']:.1f} %",
            f"{run['seconds'] / 60:.1f}",
            f"{run['machine']['cpu']}, {run['threads']} threads",
            f"{run['date']}, {run['commit']}",
        ]
        for run in results["runs"]
    ]
    commands = dict.fromkeys(run["command"] for run in results["runs"])
    return "\n\n".join([cells.table(head, rows), *(f"    {command}" for command in commands)])


def _share(top1):
    return f"{100 * top1['right'] / top1['of']:.2f} %"
