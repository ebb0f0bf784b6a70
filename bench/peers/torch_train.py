"""PyTorch's step of training, eager: forward, backward, update on a batch in memory; a run's answer is its loss.

The module is that of an ONNX file whose normalisations are nodes. Weights of more than one dimension decay, others do
not, as in our own step. Image i is of class i, counted modulo the classes.
"""

import onnx
import onnx2torch
import torch


class Engine:
    memory_format = torch.contiguous_format
    dtype = torch.float32

    def __init__(self, load):
        torch.set_num_threads(load.threads)
        model = onnx.load(load.model)
        classes = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
        net = onnx2torch.convert(model).train().to(dtype=self.dtype, memory_format=self.memory_format)
        self._pictures = torch.from_numpy(load.pictures()).to(dtype=self.dtype, memory_format=self.memory_format)
        self._labels = torch.arange(load.batch) % classes
        self._optimiser = self._sgd(net.requires_grad_())
        self._net = self.compiled(net)

    def compiled(self, net):
        return net

    def run(self):
        self._optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(self._net(self._pictures), self._labels)
        loss.backward()
        self._optimiser.step()
        return [loss.item()]

    @staticmethod
    def _sgd(net):
        matrices = [p for p in net.parameters() if p.ndim > 1]
        vectors = [p for p in net.parameters() if p.ndim == 1]
        groups = [{"params": matrices, "weight_decay": 1e-4}, {"params": vectors, "weight_decay": 0.0}]
        # At a usual rate rounding would soon decide the losses.
        return torch.optim.SGD(groups, lr=1e-5, momentum=0.9, nesterov=True, fused=True)
