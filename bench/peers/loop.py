"""The loop of a worker: requests on stdin, one JSON object a line, answers on stdout; see bench/README.md.

Not here: engines. Those that are Rust have the same loop in bench/rust-peers/src/lib.rs.
"""

import gc
import json
import os
import sys
import time

import numpy


class Load:
    """What an engine is to load."""

    def __init__(self, model, input, batch, size, threads):
        self.model = model
        self.batch = batch
        self.threads = threads
        self.shape = (batch, 3, *size)
        self._input = input

    def pictures(self):
        """Pictures in memory, [batch, 3, height, width] in single precision."""
        count = self.shape[0] * self.shape[1] * self.shape[2] * self.shape[3]
        return numpy.fromfile(self._input, "<f4", count).reshape(self.shape)


def own_stdout():
    """Stdout for answers alone: what engines print, from their import on, goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def serve(engine_class, answers):
    """Answers requests until there are no more."""
    gc.disable()
    engine = None
    for line in sys.stdin:
        ((what, arguments),) = _request(line)
        try:
            if what == "load":
                engine, reply = engine_class(Load(**arguments)), "loaded"
            elif what == "answer":
                reply = {"answer": [float(v) for v in numpy.ravel(engine.run())]}
            else:
                reply = {"ms": _times(engine, **arguments)}
        except Exception as error:  # noqa: BLE001 - an engine may raise anything
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=answers, flush=True)


def _request(line):
    """A request is a word, or an object that gives the word its arguments."""
    request = json.loads(line)
    return {request: {}}.items() if isinstance(request, str) else request.items()


def _times(engine, seconds):
    """Milliseconds of runs for so long and at least one, after one unmeasured: others have been at the caches."""
    engine.run()
    end = time.perf_counter() + seconds
    times = []
    while not times or time.perf_counter() < end:
        begin = time.perf_counter()
        engine.run()
        times.append(1e3 * (time.perf_counter() - begin))
    return times
