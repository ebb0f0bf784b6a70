"""PyTorch's step of training with the network compiled, forward and backward; that happens in the first run."""

import os
from pathlib import Path

import torch

from . import torch_train


class Engine(torch_train.Engine):
    def compiled(self, net):
        # What is compiled stays in the throw-away environment.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(".env", "inductor").resolve())
        return torch.compile(net)
