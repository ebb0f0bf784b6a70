"""PyTorch's step of training, eager, with channels as the innermost dimension."""

import torch

from . import torch_train


class Engine(torch_train.Engine):
    memory_format = torch.channels_last
