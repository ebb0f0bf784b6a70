"""Memory by depth: the most that training DenseNet-BC takes as the network gets deeper. One worker at a time, no times.

A worker may allocate what the machine has free when it begins, less a reserve: who needs more fails, not the machine.
"""

from pathlib import Path

from . import figures
from .networks import Network
from .rounds import Configuration
from .worker import Worker, WorkerError

NETWORK, BATCH = "densenet_bc:depth={},growth=12@32", 64

# With the second step, what the first made for the third is there, too.
STEPS = 2

RESERVE = 1 << 30


def measure(subject, depth, threads, compared):
    """Peak of memory of ours and of `compared` for one depth, or why there is none."""
    network = Network.parse(NETWORK.format(depth))
    network.write({engine.form for engine in compared})
    configuration = Configuration(subject, network, threads, BATCH)
    engines = [_one(configuration, engine) for engine in (subject.ours, *compared)]
    _compare(engines, subject.max_error)
    return {"depth": depth, "label": network.label, "threads": threads, "batch": BATCH, "engines": engines}


def _one(configuration, engine):
    free = _free_bytes()
    told = {"engine": engine.label, "free_bytes": free}
    worker = Worker(engine)
    try:
        worker.limit(max(0, free - RESERVE))
        worker.ask(configuration.load(engine))
        worker.forget_peak()
        told["loaded_rss_bytes"] = worker.peak_rss()
        told["losses"] = [loss for _ in range(STEPS) for loss in worker.ask("answer")]
        told["peak_rss_bytes"] = worker.peak_rss()
    except WorkerError as failure:
        told["error"] = str(failure)
    finally:
        worker.stop()
    return told


def _compare(engines, max_error):
    """Whose losses are not those of ours has not done the same."""
    ours = engines[0]
    for engine in engines[1:]:
        if "losses" in engine and "losses" in ours:
            engine["relative_l2"] = figures.relative_l2(ours["losses"], engine["losses"])
            if engine["relative_l2"] > max_error:
                engine["error"] = "wrong answer"


def _free_bytes():
    """What may be allocated without anything else being driven out of memory (proc_meminfo(5))."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return 1024 * int(line.split()[1])
    raise OSError("/proc/meminfo does not tell what is available")
