"""The rule that fills networks for reference values (`cspnet_graph::init::reference`), for the scripts that make them.

Any language can repeat it from a parameter's name alone, so no file of weights goes with the values.
"""

import numpy as np
import torch
from torch import nn


def unit(name, n):
    """Numbers in [0, 1): the upper 24 bits of SplitMix64 of the name's FNV-1a hash, counted on."""
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = ((state ^ byte) * 0x100000001B3) & ((1 << 64) - 1)
    with np.errstate(over="ignore"):
        z = np.uint64(state) + np.arange(n, dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) / float(1 << 24)


def filled(name, tensor, of_norm):
    """A parameter of that name and shape by the rule, of a normalisation or not."""
    u, leaf = unit(name, tensor.numel()), name.rsplit(".", 1)[1]
    if of_norm and leaf in ("weight", "running_var"):
        v = 0.5 + u
    elif of_norm or leaf == "bias":
        v = 0.2 * (u - 0.5)
    else:
        v = (2 * u - 1) * np.sqrt(3.0 / (tensor.numel() // tensor.shape[0]))
    return torch.from_numpy(v.astype(np.float32)).reshape(tensor.shape)


def fill(network):
    """Fills a network by the rule; counters of batches stay as they are."""
    norms = {name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}
    state = network.state_dict()
    for name, tensor in state.items():
        if not name.endswith("num_batches_tracked"):
            state[name] = filled(name, tensor, name.rsplit(".", 1)[0] in norms)
    network.load_state_dict(state)
