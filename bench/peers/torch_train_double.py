"""PyTorch's step of training in double precision: what the losses of all others are compared with."""

import torch

from . import torch_train


class Engine(torch_train.Engine):
    dtype = torch.float64
