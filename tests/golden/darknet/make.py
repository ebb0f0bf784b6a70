#!/usr/bin/env python3
"""What Darknet itself makes of small.cfg: python make.py /usr/lib/darknet/libdarknet.so

The library is that of Debian's package `darknet` (0.0.0+git20180914). Weights are drawn here; Darknet reads them, answers for one
picture, and writes them again, which is small.weights. Numbers of small.json: the picture [3, 12, 12] and the probabilities.

The other files are layer tables: number, layer, shape, parameters and billions of operations.
"""
import ctypes
import json
import random
import struct
import sys
from pathlib import Path

HERE = Path(__file__).parent
# Outputs, numbers of the weight, and whether there is a normalisation, of every layer that has some.
LAYERS = [(8, 8 * 27, True), (8, 8 * 4 * 9, False), (16, 16 * 8, True), (12, 12 * 16 * 9, True), (6, 6 * 24 * 4, False),
          (10, 10 * 96, False), (5, 5 * 10, False)]

draw = random.Random(1)


def numbers(count, low, high):
    return [draw.uniform(low, high) for _ in range(count)]


floats = []
for out, weight, normalised in LAYERS:
    floats += numbers(out, -0.5, 0.5)
    if normalised:
        floats += numbers(out, 0.5, 1.5) + numbers(out, -0.5, 0.5) + numbers(out, 0.5, 1.5)
    bound = (3 * out / weight) ** 0.5 * 1.5
    floats += numbers(weight, -bound, bound)
picture = (ctypes.c_float * (3 * 12 * 12))(*numbers(3 * 12 * 12, 0, 1))

darknet = ctypes.CDLL(sys.argv[1])
darknet.load_network.restype = ctypes.c_void_p
darknet.network_predict.restype = ctypes.POINTER(ctypes.c_float)
written = HERE / "small.weights"
written.write_bytes(struct.pack("<iiiQ", 0, 2, 0, 64) + struct.pack(f"<{len(floats)}f", *floats))
network = ctypes.c_void_p(darknet.load_network(str(HERE / "small.cfg").encode(), str(written).encode(), 0))
darknet.set_batch_network(network, 1)
answer = darknet.network_predict(network, picture)
golden = {"picture": list(picture), "probabilities": [answer[i] for i in range(LAYERS[-1][0])]}
darknet.save_weights(network, str(written).encode())
(HERE / "small.json").write_text(json.dumps(golden) + "\n")
