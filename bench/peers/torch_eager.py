"""PyTorch, eager: the same graph with folded normalisations, in inference mode."""

import onnx2torch
import torch


class Engine:
    memory_format = torch.contiguous_format

    def __init__(self, load):
        torch.set_num_threads(load.threads)
        self._net = onnx2torch.convert(load.model).eval().to(memory_format=self.memory_format)
        self._pictures = torch.from_numpy(load.pictures()).to(memory_format=self.memory_format)

    def run(self):
        with torch.inference_mode():
            return self._net(self._pictures).numpy()
