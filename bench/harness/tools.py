"""`--check-tools`: does a worker run its engine as fast as the engine's own tool does?

Where the wheel brings a tool: OpenVINO's benchmark_app, PyTorch's torch.utils.benchmark, onnxruntime_test, which uses
all cores and tells the mean. Worker and tool take turns, so that the machine's moods meet both.
"""

import json
import re
import statistics
import subprocess
import sys

from . import environment
from .worker import Worker

# A worker is fair if its median is at most this many of the tool's.
MAX_RATIO = 1.10

TURNS = 3


def check(configuration, engine, seconds):
    """Median milliseconds of the worker and of the tool, or None if there is no tool for this."""
    tool = TOOLS.get(engine.name)
    if tool is None:
        return None
    worker = Worker(engine)
    try:
        worker.ask(configuration.load(engine))
        pairs = []
        for _ in range(TURNS):
            ours = statistics.median(worker.ask({"run": {"seconds": seconds}}))
            theirs = tool(configuration, seconds, ours)
            if theirs is None:
                return None
            pairs.append((ours, theirs))
    finally:
        worker.stop()
    return tuple(min(column) for column in zip(*pairs))


def _told(pattern, *command):
    """The number that a tool prints where the pattern says.

    Raises SystemExit with what it prints instead.
    """
    words = [str(word) for word in command]
    done = subprocess.run(words, check=False, cwd=environment.BENCH, capture_output=True, text=True)
    found = re.search(pattern, done.stdout)
    if not found:
        sys.exit(f"{command[0]}:\n{done.stdout}{done.stderr}")
    return float(found.group(1))


def _openvino(configuration, seconds, _ms):
    """The median. The tool sets threads only without a hint; one stream is what the hint for latency means."""
    size = configuration.network.size
    return _told(
        r"Median:\s+([\d.]+) ms",
        environment.VENV / "bin" / "benchmark_app",
        "-m",
        configuration.network.file("onnx"),
        "-d",
        "CPU",
        "-api",
        "sync",
        "-hint",
        "none",
        "-nstreams",
        1,
        "-nthreads",
        configuration.threads,
        "-infer_precision",
        "f32",
        "-shape",
        f"[{configuration.batch},3,{size},{size}]",
        "-t",
        max(1, round(seconds)),
    )


def _onnxruntime(configuration, seconds, ms):
    """The mean of as many runs as take so long; the first is slower, and among them."""
    if configuration.threads != environment.machine()["cores"]:
        return None
    return _told(
        r"avg latency: ([\d.]+) ms",
        environment.VENV / "bin" / "onnxruntime_test",
        configuration.network.file("onnx"),
        max(10, round(1e3 * seconds / ms)),
        "--symbolic_dims",
        f"batch={configuration.batch}",
    )


TORCH = """
import json, sys, onnx2torch, torch
from torch.utils.benchmark import Timer
path, batch, size, threads, seconds = json.loads(sys.argv[1])
layout = torch.channels_last if sys.argv[2] == "last" else torch.contiguous_format
net = onnx2torch.convert(path).eval().to(memory_format=layout)
x = torch.randn(batch, 3, size, size).to(memory_format=layout)
with torch.inference_mode():
    timer = Timer("net(x)", globals={"net": net, "x": x}, num_threads=threads)
    print(1e3 * timer.blocked_autorange(min_run_time=seconds).median)
"""


def _torch(layout):
    def tool(configuration, seconds, _ms):
        network = configuration.network
        values = [str(network.file("onnx")), configuration.batch, network.size, configuration.threads, seconds]
        return _told(r"([\d.]+)", environment.PYTHON, "-c", TORCH, json.dumps(values), layout)

    return tool


TOOLS = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "torch": _torch("first"),
    "torch-channels-last": _torch("last"),
}
