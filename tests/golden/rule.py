"""The rule that fills networks for reference values (`cspnet_graph::init::reference`), for the scripts that make them."""

import numpy as np
import torch


def unit(name, n):
    """The rule of the other reference values."""
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = ((state ^ byte) * 0x100000001B3) & ((1 << 64) - 1)
    with np.errstate(over="ignore"):
        z = np.uint64(state) + np.arange(n, dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) / float(1 << 24)


def filled(name, tensor):
    """A tensor of that name and shape by the rule; a counter of batches stays as it is."""
    if name.endswith("num_batches_tracked"):
        return tensor
    u, leaf = unit(name, tensor.numel()), name.split(".")[1]
    if name.startswith("norm"):
        v = 0.5 + u if leaf in ("weight", "running_var") else 0.2 * (u - 0.5)
    elif leaf == "bias":
        v = 0.2 * (u - 0.5)
    else:
        v = (2 * u - 1) * np.sqrt(3.0 / (tensor.numel() // tensor.shape[0]))
    return torch.from_numpy(v.astype(np.float32)).reshape(tensor.shape)
