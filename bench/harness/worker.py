"""A worker process as the driver sees it: requests, answers, and what the system tells of it (Linux' /proc).

Not here: the worker's own side, which is bench/peers/loop.py and bench/rust-peers/src/lib.rs.
"""

import json
import os
import resource
import subprocess
from pathlib import Path

from . import environment

TICKS = os.sysconf("SC_CLK_TCK")


class WorkerError(Exception):
    """A worker says that something went wrong, or says nothing any more."""


class Worker:
    """An engine with the network it holds, in a process of its own."""

    def __init__(self, engine):
        self.engine = engine
        self._log = environment.LOG.open("a")
        self._process = subprocess.Popen(
            environment.command(engine),
            cwd=environment.BENCH,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        self._proc = Path("/proc", str(self._process.pid))

    def tell(self, request):
        """Sends a request; its answer is for `hear`."""
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # `hear` finds that there is no answer.

    def hear(self):
        """The answer to the oldest request that has none yet."""
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(f"ended with status {self._process.wait()}")
        reply = json.loads(line)
        if isinstance(reply, str):
            return None
        ((what, value),) = reply.items()
        if what == "error":
            raise WorkerError(value)
        return value

    def ask(self, request):
        self.tell(request)
        return self.hear()

    def peak_rss(self):
        """The most memory the process has had at once, in bytes."""
        for line in (self._proc / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
        return None

    def forget_peak(self):
        """Lets `peak_rss` begin again at what the process has now (proc_pid_clear_refs(5))."""
        (self._proc / "clear_refs").write_text("5")

    def limit(self, size):
        """Lets the process allocate at most so many bytes."""
        resource.prlimit(self._process.pid, resource.RLIMIT_DATA, (size, size))

    def cpu_seconds(self):
        """Time that the process has computed so far."""
        return sum(int(ticks) for ticks in _fields(self._proc / "stat")[11:13]) / TICKS

    def sleeps(self):
        """Whether no thread of it computes or wants to."""
        return all(_state(task) != "R" for task in (self._proc / "task").iterdir())

    def stop(self):
        """Ends the process."""
        self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()


def _fields(stat):
    """The fields of a `stat` file from the state on: the name before it may have spaces in it (proc_pid_stat(5))."""
    return stat.read_text().rpartition(")")[2].split()


def _state(task):
    try:
        return _fields(task / "stat")[0]
    except (FileNotFoundError, ProcessLookupError):
        return "ended"
