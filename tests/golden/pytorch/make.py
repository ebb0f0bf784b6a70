#!/usr/bin/env python3
"""Small files as `torch.save` writes them, for checking that ours are read: python make.py [FOLDER]

The network is conv 3x3 (3 -> 4, no bias), BatchNorm, linear (4 -> 3), filled by the rule of the other reference values (../rule.py).

state_dict.pth   a state dict
checkpoint.pth   a checkpoint as timm writes it: arguments, optimiser, averaged weights (the half of the others, `module.` before names)
module.pt        the network itself, whole
spread.pth       protocol 4; half, bfloat16 and double precision, channels last, transposed, one storage for three tensors
old.pth          a state dict in the form of before PyTorch 1.6
"""
import argparse
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent.parent))
from rule import fill  # noqa: E402


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 3)


network = Network()
fill(network)
state = network.state_dict()

optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
sum(p.sum() for p in network.parameters()).backward()
optimizer.step()
fill(network)
checkpoint = {
    "epoch": 7,
    "arch": "small",
    "state_dict": state,
    "optimizer": optimizer.state_dict(),
    "version": 2,
    "args": argparse.Namespace(lr=0.1, opt_betas=None, model="small", seed=1 << 70),
    "state_dict_ema": OrderedDict((f"module.{name}", tensor / 2) for name, tensor in state.items()),
    "metric": np.float64(71.5),
}

flat = torch.cat([torch.zeros(5), state["norm.weight"], state["norm.bias"], state["fc.weight"].t().reshape(-1)])
spread = dict(state)
spread["conv.weight"] = state["conv.weight"].half().to(memory_format=torch.channels_last)
spread["norm.running_mean"] = nn.Parameter(state["norm.running_mean"].bfloat16())
spread["norm.running_var"] = state["norm.running_var"].double()
spread["norm.weight"], spread["norm.bias"] = flat[5:9], flat[9:13]
spread["fc.weight"] = flat[13:].view(4, 3).t()
spread["norm.unused"] = torch.zeros(1).expand(1000, 1000)

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
torch.save(state, folder / "state_dict.pth")
torch.save(checkpoint, folder / "checkpoint.pth")
torch.save(network, folder / "module.pt")
torch.save(spread, folder / "spread.pth", pickle_protocol=4)
torch.save(state, folder / "old.pth", _use_new_zipfile_serialization=False)
