"""The command line: what is measured, in which order, and where it is written."""

import argparse
import datetime
import json
import sys
from pathlib import Path

from . import cells, depths, environment, tables, tools, training_tables
from .engines import chosen
from .networks import Network
from .subjects import ANSWERS, TRAINING
from .worker import WorkerError

# The depths of DenseNet-BC whose memory is compared.
DEPTHS = (40, 100, 160, 220)


def main():
    """Runs the command; gives its exit status: 3 if the machine was too noisy."""
    arguments = _arguments()
    subject = TRAINING if arguments.train else ANSWERS
    path = arguments.results or subject.results
    if not arguments.tables_only:
        environment.prepare()
        try:
            compared = chosen(subject.peers, arguments.peers or [peer.name for peer in subject.peers])
            networks = {text: Network.parse(text) for text in arguments.networks or subject.networks}
        except ValueError as error:
            sys.exit(error)
        for network in networks.values():
            print(f"writing {network.label}", flush=True)
            network.write({engine.form for engine in (subject.reference, *compared)})
        configurations = subject.configurations(networks, arguments.threads, arguments.batch)
        if arguments.check_tools:
            return _check_tools(arguments, configurations, compared)
        try:
            _measure(arguments, subject, configurations, compared, path)
        except WorkerError as error:
            sys.exit(error)
    results = json.loads(path.read_text())
    if not arguments.no_tables:
        for document, mark, render in subject.documents:
            cells.write(document, mark, render(results))
    return 3 if any(c["doubts"] for c in results["configurations"]) else 0


def _arguments():
    names = list(dict.fromkeys(peer.name for subject in (ANSWERS, TRAINING) for peer in subject.peers))
    parser = argparse.ArgumentParser(
        prog="bench/run",
        description="Runs our engine and others on the same networks, weights and pictures, in turns; compares answers "
        "and times; writes bench/results/peers.json, and from it the tables in README.md and docs/performance.md. With --train "
        "it is steps of training, PyTorch's beside ours, and bench/results/training.json.",
        epilog="The exit status is 3 if the machine was too noisy for some figures; the tables mark them.",
    )
    parser.add_argument("--train", action="store_true", help="measure steps of training instead of answers")
    parser.add_argument(
        "--networks",
        nargs="+",
        metavar="NETWORK[@SIZE]",
        help="see `cspnet models`; SIZE is the photo's side in pixels; by default those of the tables",
    )
    parser.add_argument(
        "--peers",
        nargs="+",
        metavar="PEER",
        choices=names,
        help=f"of {', '.join(names)}; by default all that there are for answers or for training",
    )
    parser.add_argument(
        "--threads",
        nargs="+",
        type=_count,
        metavar="N",
        help="by default 1 and 2 with batch 1, and 2 with batch 8; of training 1 and 2",
    )
    parser.add_argument(
        "--batch",
        nargs="+",
        type=_count,
        metavar="N",
        help="pictures computed at once; every one with each of --threads",
    )
    parser.add_argument(
        "--depths",
        nargs="*",
        type=_count,
        default=DEPTHS,
        metavar="L",
        help="with --train, depths of DenseNet-BC whose memory is compared (40 100 160 220); none if none is given",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=20.0,
        help="how long each configuration is measured, and at least six rounds (20)",
    )
    parser.add_argument("--rounds", type=_count, help="so many rounds instead")
    parser.add_argument(
        "--turn", type=float, default=0.25, help="seconds that an engine runs in its turn, at least once (0.25)"
    )
    parser.add_argument("--results", type=Path, metavar="FILE", help="another JSON file")
    parser.add_argument("--no-tables", action="store_true", help="leave README.md and docs/performance.md as they are")
    parser.add_argument(
        "--tables-only", action="store_true", help="measure nothing: write the tables of the JSON file again"
    )
    parser.add_argument(
        "--check-tools", action="store_true", help="compare each worker with its engine's own benchmark tool instead"
    )
    arguments = parser.parse_args()
    if arguments.train and arguments.check_tools:
        parser.error("--check-tools knows no tools for training")
    return arguments


def _count(text):
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"`{text}` is no number from 1 on")
    return int(text)


def _measure(arguments, subject, configurations, compared, path):
    """Measures, and writes the JSON file after each configuration: one that is stopped leaves what it has."""
    results = {
        "date": datetime.date.today().isoformat(),
        "commit": environment.commit(),
        "machine": environment.machine(),
        "versions": environment.versions([subject.ours, *compared]),
        "configurations": [],
    } | ({"depths": []} if arguments.train else {})
    path.parent.mkdir(parents=True, exist_ok=True)

    def keep(measured, among):
        results[among].append(measured)
        path.write_text(json.dumps(results, indent=1) + "\n")

    for configuration in configurations:
        measured = configuration.measure(compared, arguments.seconds, arguments.rounds, arguments.turn)
        keep(measured, "configurations")
        _tell(measured)
    if arguments.train:
        _measure_depths(arguments, subject, compared, keep)


def _measure_depths(arguments, subject, compared, keep):
    """Memory by depth, of PyTorch's memory formats, with the most threads."""
    formats = [engine for engine in compared if engine.label in training_tables.MODES]
    for depth in arguments.depths if formats else ():
        measured = depths.measure(subject, depth, max(arguments.threads or [2]), formats)
        keep(measured, "depths")
        for engine in measured["engines"]:
            peak = engine.get("error") or f"{engine['peak_rss_bytes'] / 1e6:.0f} MB"
            print(f"{measured['label']}, {engine['engine']}: {peak}", flush=True)


def _tell(measured):
    """One configuration, as it goes."""
    pair = f"threads {measured['threads']}, batch {measured['batch']}"
    print(f"\n{measured['label']}, {pair}: {measured['rounds']} rounds, {measured['seconds']:.0f} s with loading")
    for engine in measured["engines"]:
        if "min_ms" in engine:
            figures = f"{engine['min_ms']:9.2f} {engine['median_ms']:9.2f} {engine['p90_ms']:9.2f} ms "
            figures += (
                f"{engine['runs']:5} runs {engine['peak_rss_bytes'] / 1e6:6.0f} MB  error {engine['relative_l2']:.1e}"
            )
        else:
            figures = engine["error"] + (f", {engine['relative_l2']:.1e}" if "relative_l2" in engine else "")
        print(f"  {engine['engine']:24}{figures}")
    ratio = tables.ratio(measured)
    print(f"  fastest peer / cspnet: {ratio:.2f}" if ratio else "  no peer was timed", flush=True)
    for doubt in measured["doubts"]:
        print(f"{measured['label']}: {doubt}; the machine is too noisy to trust these figures", file=sys.stderr)


def _check_tools(arguments, configurations, compared):
    """Compares workers with tools; 1 if one is too slow."""
    unfair = False
    for configuration in configurations:
        for engine in compared:
            answered = tools.check(configuration, engine, arguments.seconds / 10)
            if answered is None:
                continue
            worker, tool = answered
            unfair |= worker > tools.MAX_RATIO * tool
            where = f"{configuration.network.label}, threads {configuration.threads}, batch {configuration.batch}"
            print(
                f"{engine.label}, {where}: worker {worker:.2f} ms, own tool {tool:.2f} ms, ratio {worker / tool:.2f}",
                flush=True,
            )
    return int(unfair)
