"""The command line: what is measured, in which order, and where it is written."""

import argparse
import datetime
import json
import sys
from pathlib import Path

from . import environment, networks, tables, tools
from .engines import OURS, PEERS, peers
from .networks import Network
from .rounds import Configuration
from .worker import WorkerError

RESULTS = environment.BENCH / "results" / "peers.json"

# The configurations of the tables: threads and batch.
TABLE_PAIRS = ((1, 1), (2, 1), (2, 8))

DOCUMENTS = (
    (environment.ROOT / "README.md", tables.short),
    (environment.ROOT / "docs" / "performance.md", tables.full),
)


def main():
    """Runs the command; gives its exit status: 3 if the machine was too noisy."""
    arguments = _arguments()
    if not arguments.tables_only:
        environment.prepare()
        try:
            chosen = [Network.parse(text) for text in arguments.networks]
        except ValueError as error:
            sys.exit(error)
        for network in chosen:
            print(f"writing {network.label}", flush=True)
            network.write()
        if arguments.check_tools:
            return _check_tools(arguments, chosen)
        try:
            _measure(arguments, chosen)
        except WorkerError as error:
            sys.exit(error)
    results = json.loads(arguments.results.read_text())
    if not arguments.no_tables:
        for path, render in DOCUMENTS:
            tables.write(path, render(results))
    return 3 if any(c["doubts"] for c in results["configurations"]) else 0


def _arguments():
    names = [peer.name for peer in PEERS]
    parser = argparse.ArgumentParser(
        prog="bench/run",
        description="Runs our engine and others on the same networks, weights and pictures, in turns; compares answers "
        "and times; writes bench/results/peers.json, and from it the tables in README.md and docs/performance.md.",
        epilog="The exit status is 3 if the machine was too noisy for some figures; the tables mark them.",
    )
    parser.add_argument(
        "--networks",
        nargs="+",
        metavar="NETWORK[@SIZE]",
        default=list(networks.TABLE),
        help="see `cspnet models`; SIZE is the photo's side in pixels; by default those of the tables",
    )
    parser.add_argument(
        "--peers",
        nargs="+",
        metavar="PEER",
        default=names,
        choices=names,
        help=f"of {', '.join(names)}; by default all",
    )
    parser.add_argument(
        "--threads", nargs="+", type=_count, metavar="N", help="by default 1 and 2 with batch 1, and 2 with batch 8"
    )
    parser.add_argument(
        "--batch",
        nargs="+",
        type=_count,
        metavar="N",
        help="pictures computed at once; every one with each of --threads",
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
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FILE", help="the JSON file")
    parser.add_argument("--no-tables", action="store_true", help="leave README.md and docs/performance.md as they are")
    parser.add_argument(
        "--tables-only", action="store_true", help="measure nothing: write the tables of the JSON file again"
    )
    parser.add_argument(
        "--check-tools", action="store_true", help="compare each worker with its engine's own benchmark tool instead"
    )
    return parser.parse_args()


def _count(text):
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"`{text}` is no number from 1 on")
    return int(text)


def _configurations(arguments, chosen):
    """Every network with every pair of threads and batch."""
    pairs = TABLE_PAIRS
    if arguments.threads or arguments.batch:
        pairs = [(t, b) for b in arguments.batch or [1] for t in arguments.threads or [1, 2]]
    return [Configuration(network, threads, batch) for threads, batch in pairs for network in chosen]


def _measure(arguments, chosen):
    """Measures, and writes the JSON file after each configuration: one that is stopped leaves what it has."""
    compared = peers(arguments.peers)
    results = {
        "date": datetime.date.today().isoformat(),
        "commit": environment.commit(),
        "machine": environment.machine(),
        "versions": environment.versions([OURS, *compared]),
        "configurations": [],
    }
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    for configuration in _configurations(arguments, chosen):
        measured = configuration.measure(compared, arguments.seconds, arguments.rounds, arguments.turn)
        results["configurations"].append(measured)
        arguments.results.write_text(json.dumps(results, indent=1) + "\n")
        _tell(measured)


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


def _check_tools(arguments, chosen):
    """Compares workers with tools; 1 if one is too slow."""
    unfair = False
    for configuration in _configurations(arguments, chosen):
        for engine in peers(arguments.peers):
            compared = tools.check(configuration, engine, arguments.seconds / 10)
            if compared is None:
                continue
            worker, tool = compared
            unfair |= worker > tools.MAX_RATIO * tool
            where = f"{configuration.network.label}, threads {configuration.threads}, batch {configuration.batch}"
            print(
                f"{engine.label}, {where}: worker {worker:.2f} ms, own tool {tool:.2f} ms, ratio {worker / tool:.2f}",
                flush=True,
            )
    return int(unfair)
