#!/usr/bin/env python3
"""Reference values of a network: python make.py NAME HEIGHT WIDTH [--batch N] [--train] > NAME.json

NAME is one of networks.py beside this file, with its knobs, or else timm's. Every parameter is filled by the rule (rule.py), and the
input is `2 * unit("input", i) - 1`. All is computed in double precision.

"params" gives every parameter's name and shape in the order of the state dict, "stages" the outputs of the modules that the network
calls its features, "logits" the classifier's output. With --train the network runs in training mode; the loss is the mean cross
entropy against label (7 * n) % classes for the n-th image, "grads" holds each parameter's gradient and "running" the running statistics
after that step. Of a tensor stand its shape, norm (L2), mean, eight samples (sample k is the element at k * (numel - 1) // 7) and "f32":
how far the same run in single precision departs, the larger of |norm difference| / norm and |sample difference| / root mean square.
It tells what rounding alone does to these figures.

The files here: ours as `make.py cspresnet9 32 32 --batch 2`, `make.py cspresnet9:width=16,units=2,gamma=0.25 32 32 --batch 4 --train`
and so on, as "network" and "input" of each say. Files that end in .train.json are made with --train.
"""
import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
import networks  # noqa: E402
from rule import fill, unit  # noqa: E402


def create(name):
    own = networks.create(name)
    if own is not None:
        return own
    import timm

    # What timm leaves out at random by default.
    no_drops = {"drop_path_rate": 0.0} if name.startswith(("csp", "cs3", "dark")) else {}
    return timm.create_model(name, pretrained=False, **no_drops)


def stages(network):
    """Paths of the modules whose outputs are told."""
    if hasattr(network, "stage_paths"):
        return network.stage_paths
    info = network.feature_info
    return [i["module"] for i in (info if isinstance(info, list) else info.get_dicts())]


def run(arguments, precision):
    """The network and every tensor of one run, by part and name."""
    network = create(arguments.name)
    fill(network)
    network = network.to(precision)
    shape = (arguments.batch, 3, arguments.height, arguments.width)
    numbers = (2 * unit("input", int(np.prod(shape))) - 1).astype(np.float32)
    x = torch.from_numpy(numbers).reshape(shape).to(precision)
    return network, trained(network, x) if arguments.train else inferred(network, x)


def trained(network, x):
    network.train()
    logits = network(x)
    labels = torch.tensor([(7 * n) % logits.shape[1] for n in range(len(x))])
    loss = torch.nn.functional.cross_entropy(logits, labels)
    loss.backward()
    running = {n: b for n, b in network.named_buffers() if not n.endswith("num_batches_tracked")}
    grads = {n: p.grad for n, p in network.named_parameters()}
    return {"grads": grads, "loss": {"": loss}, "running": running, "logits": {"": logits}}


def inferred(network, x):
    network.eval()
    seen = {}
    for path in stages(network):
        keep = lambda module, inputs, output, path=path: seen.update({path: output.clone()})  # noqa: E731
        network.get_submodule(path).register_forward_hook(keep)
    with torch.no_grad():
        logits = network(x)
    return {"stages": seen, "logits": {"": logits}}


def figures(tensor, single):
    exact, single = tensor.detach().double().flatten(), single.detach().double().flatten()
    norm, last = float(exact.norm()), exact.numel() - 1
    rms = norm / exact.numel() ** 0.5 or 1.0
    places = [k * last // 7 for k in range(8)]
    off = [abs(float(single.norm()) - norm) / (norm or 1.0)]
    off += [abs(float(single[i] - exact[i])) / rms for i in places]
    samples = [float(exact[i]) for i in places]
    return {"shape": list(tensor.shape), "norm": norm, "mean": float(exact.mean()), "samples": samples, "f32": max(off)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("height", type=int)
    parser.add_argument("width", type=int)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--train", action="store_true")
    arguments = parser.parse_args()
    network, exact = run(arguments, torch.float64)
    _, single = run(arguments, torch.float32)
    state = network.state_dict().items()
    told = {
        "network": arguments.name,
        "torch": torch.__version__.partition("+")[0],
        "input": [arguments.batch, 3, arguments.height, arguments.width],
        "params": [[n, list(t.shape)] for n, t in state if not n.endswith("num_batches_tracked")],
        "param_count": sum(p.numel() for p in network.parameters()),
    }
    for part, tensors in exact.items():
        of_part = {name: figures(tensor, single[part][name]) for name, tensor in tensors.items()}
        if part == "loss":
            told["loss"], told["loss_f32"] = float(tensors[""].detach()), of_part[""]["f32"]
        elif part == "logits":
            logits = tensors[""].detach()
            first = [float(v) for v in logits.flatten()[:16]]
            told["logits"] = dict(of_part[""], first=first, argmax=logits.argmax(1).tolist())
        else:
            told[part] = of_part
    json.dump(told, sys.stdout, separators=(",", ":"))


main()
