#!/usr/bin/env python3
"""Parameters after a few updates by PyTorch's optimisers, for checking ours: python make.py > updates.json

The network is conv 3x3 (3 -> 4, no bias), BatchNorm, ReLU, global average, linear (4 -> 3), filled by the rule of the other
reference values (../rule.py). Batch k has 4 pictures of 3 x 8 x 8, `2 * unit("input", i) - 1` counted on
from batch to batch, and the label of its n-th picture is (7 * n + k) % 3. Weight decay is for the two weights only. Everything
is computed in double precision, the iteration of Muon as well, for which PyTorch takes bfloat16; Muon moves the convolution's weight as a
4 x 27 matrix, and AdamW all else. The parameters and running statistics after the last update are given in full.
"""
import json
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent.parent))
from rule import fill, unit  # noqa: E402

BATCH, UPDATES = 4, 6
SGD = dict(lr=0.1, momentum=0.9, nesterov=True)
ADAMW = dict(lr=0.02, betas=(0.8, 0.99), eps=1e-6)
MUON = dict(lr=0.02, momentum=0.9, adjust_lr_fn="match_rms_adamw")
CASES = {
    "sgd": dict(optimizer="sgd", decay=0.05, clip=None, accumulate=1),
    "adamw": dict(optimizer="adamw", decay=0.05, clip=None, accumulate=1),
    "muon": dict(optimizer="muon", decay=0.05, clip=None, accumulate=1),
    "sgd, clipped": dict(optimizer="sgd", decay=0.05, clip=0.1, accumulate=1),
    "sgd, accumulated": dict(optimizer="sgd", decay=0.05, clip=None, accumulate=2),
    "adamw, clipped and accumulated": dict(optimizer="adamw", decay=0.0, clip=0.1, accumulate=3),
}


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(self.norm(self.conv(x)).relu().mean((2, 3)))


def groups(network, decay):
    return [
        dict(params=[network.conv.weight, network.fc.weight], weight_decay=decay),
        dict(params=[network.norm.weight, network.norm.bias, network.fc.bias], weight_decay=0.0),
    ]


def sgd(network, decay):
    return torch.optim.SGD(groups(network, decay), **SGD).step


def adamw(network, decay):
    return torch.optim.AdamW(groups(network, decay), **ADAMW).step


def muon(network, decay):
    weight = network.conv.weight
    matrix = nn.Parameter(weight.detach().flatten(1))
    weights, others = groups(network, decay)
    first = torch.optim.Muon([matrix], weight_decay=decay, **MUON)
    second = torch.optim.AdamW([dict(weights, params=[network.fc.weight]), others], **ADAMW)

    def step():
        matrix.grad = weight.grad.flatten(1)
        with mock.patch.object(torch, "bfloat16", torch.float64):
            first.step()
        second.step()

    return step


def run(optimizer, decay, clip, accumulate):
    network = Network().double()
    fill(network)
    step = dict(sgd=sgd, adamw=adamw, muon=muon)[optimizer](network, decay)
    size = BATCH * 3 * 8 * 8
    inputs = (2 * unit("input", UPDATES * accumulate * size) - 1).astype(np.float32).astype(np.float64)
    losses = []
    for update in range(UPDATES):
        network.zero_grad()
        for micro in range(accumulate):
            k = update * accumulate + micro
            x = torch.from_numpy(inputs[k * size:][:size]).reshape(BATCH, 3, 8, 8)
            labels = torch.tensor([(7 * n + k) % 3 for n in range(BATCH)])
            loss = nn.functional.cross_entropy(network(x), labels)
            losses.append(float(loss))
            (loss / accumulate).backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(network.parameters(), clip)
        step()
    tensors = {n: t.flatten().tolist() for n, t in network.state_dict().items() if not n.endswith("tracked")}
    return dict(losses=losses, tensors=tensors)


if __name__ == "__main__":
    cases = {name: dict(case, **run(**case)) for name, case in CASES.items()}
    print(json.dumps(dict(torch=torch.__version__, updates=UPDATES, cases=cases)))
