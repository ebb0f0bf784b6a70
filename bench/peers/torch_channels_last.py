"""PyTorch, eager, with channels as the innermost dimension."""

import torch

from . import torch_eager


class Engine(torch_eager.Engine):
    memory_format = torch.channels_last
