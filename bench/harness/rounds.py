"""One configuration, measured: every engine holds the network in its own process, and they run in turns.

Before a turn all workers must sleep: pools of threads spin for a while after their work, and would take the core of the
next. That is waited for and looked up, not assumed, so no engine needs to be told to spin less than it would by itself.
"""

import statistics
import time
from contextlib import ExitStack
from pathlib import Path

from . import figures, networks
from .worker import TICKS, Worker, WorkerError

# Looks, so far apart, that must find every worker asleep.
LOOKS, APART_S = 3, 0.002

# A worker that computes for longer than this after its turn is broken.
PATIENCE_S = 10.0

# An engine that takes this many times the fastest takes part in some rounds only.
SLOW = 2.0

FEWEST_ROUNDS = 6

# Probes of the machine's peak at a time.
PROBES = 3


class Configuration:
    """What is measured on a network, with a number of threads and a number of pictures computed at once."""

    def __init__(self, subject, network, threads, batch):
        self.subject = subject
        self.network = network
        self.threads = threads
        self.batch = batch

    def measure(self, peers, seconds, rounds, turn):
        """Measures ours and `peers` for `seconds` and at least six rounds, or exactly `rounds` if that is no None."""
        begin = time.monotonic()
        reference = self._reference()
        with ExitStack() as stack:
            workers = [Worker(engine) for engine in (self.subject.ours, *peers)]
            for worker in workers:
                stack.callback(worker.stop)
            told = {worker.engine.name: {"engine": worker.engine.label} for worker in workers}
            right = self._right(workers, reference, told)
            if self.subject.loaded_first:
                for worker in right:
                    worker.forget_peak()
            turns = Turns(right, self.threads, turn, self.subject.seldom)
            turns.take(seconds, rounds)
            for worker in right:
                told[worker.engine.name] |= figures.summary(turns.times[worker]) | {"peak_rss_bytes": worker.peak_rss()}
        measured = {
            "network": self.network.spec,
            "label": self.network.label,
            "size": self.network.size,
            "threads": self.threads,
            "batch": self.batch,
            "rounds": turns.rounds,
            "seconds": round(time.monotonic() - begin, 1),
            "peak_gflops": turns.probes,
            "foreign_cores": statistics.median(turns.foreign),
            "doubts": figures.doubts(turns.probes, turns.foreign),
            "engines": list(told.values()),
        }
        return measured | ({"losses": reference} if self.subject.answers > 1 else {})

    def load(self, engine):
        """The request that makes a worker load the network."""
        most = max(8, self.batch)
        return {
            "load": {
                "model": str(self.network.file(engine.form)),
                "input": str(networks.pictures(self.network.size, most)),
                "batch": self.batch,
                "size": [self.network.size] * 2,
                "threads": self.threads,
            }
        }

    def _reference(self):
        """The answers that are right."""
        worker = Worker(self.subject.reference)
        try:
            worker.ask(self.load(self.subject.reference))
            return self._answers(worker)
        finally:
            worker.stop()

    def _answers(self, worker):
        """As many answers as are compared, one behind the other."""
        return [number for _ in range(self.subject.answers) for number in worker.ask("answer")]

    def _right(self, workers, reference, told):
        """Loads all workers side by side, and gives those whose answer is right; raises WorkerError if ours is not."""
        for worker in workers:
            worker.tell(self.load(worker.engine))
        right = []
        for worker in workers:
            of_it = told[worker.engine.name]
            try:
                worker.hear()
                error = figures.relative_l2(self._answers(worker), reference)
            except WorkerError as failure:
                of_it["error"] = str(failure)
                continue
            of_it["relative_l2"] = error
            if error <= self.subject.max_error:
                right.append(worker)
            else:
                of_it["error"] = "wrong answer"
        if not right or right[0].engine is not self.subject.ours:
            ours = told[self.subject.ours.name]
            raise WorkerError(f"{self.network.label}, cspnet: {ours['error']} {ours.get('relative_l2', '')}")
        return right


class Turns:
    """Rounds of turns of workers that are ready."""

    def __init__(self, workers, threads, turn, seldom):
        self._workers = workers
        self._threads = threads
        self._turn = turn
        self._seldom = seldom
        self.times = {worker: [] for worker in workers}
        self.rounds = 0
        self.probes = []
        self.foreign = []

    def take(self, seconds, rounds):
        """Takes turns for so long, or so many of them."""
        end = time.monotonic() + seconds
        while self.rounds < (rounds or FEWEST_ROUNDS) or (not rounds and time.monotonic() < end):
            self._probe()
            for worker in self._in_turn():
                self._settle()
                self._one(worker)
            self.rounds += 1
        self._probe()

    def _probe(self):
        """The machine's peak: the highest of some probes. Nothing makes one too fast; threads may begin on one core."""
        self._settle()
        ours = self._workers[0]
        self.probes.append(max(ours.ask({"peak": {"threads": self._threads}}) for _ in range(PROBES)))

    def _in_turn(self):
        """Who takes part in this round; the first one is another in each, so that nobody always follows the same."""
        first = self.rounds % len(self._workers)
        order = self._workers[first:] + self._workers[:first]
        if self.rounds % self._seldom == 0:
            return order
        fastest = min(min(times) for times in self.times.values())
        return [worker for worker in order if min(self.times[worker]) <= SLOW * fastest]

    def _one(self, worker):
        """One turn, and how much of a core others took meanwhile."""
        begin, own, busy = time.monotonic(), worker.cpu_seconds(), _busy_seconds()
        self.times[worker] += worker.ask({"run": {"seconds": self._turn}})
        others = (_busy_seconds() - busy) - (worker.cpu_seconds() - own)
        self.foreign.append(round(max(0.0, others / (time.monotonic() - begin)), 3))

    def _settle(self):
        """Waits until all workers sleep."""
        end = time.monotonic() + PATIENCE_S
        asleep = 0
        while asleep < LOOKS:
            time.sleep(APART_S)
            awake = [worker for worker in self._workers if not worker.sleeps()]
            asleep = 0 if awake else asleep + 1
            if time.monotonic() > end:
                raise WorkerError(f"{awake[0].engine.label if awake else 'some worker'} does not sleep after its turn")


def _busy_seconds():
    """What all processes and interrupts have taken of all cores so far, stolen time included (proc_stat(5))."""
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS
