"""MNN: its session on the CPU, precision and memory `normal`, which is single precision with Winograd and Strassen."""

import MNN
import numpy


class Engine:
    def __init__(self, load):
        self._net = MNN.Interpreter(load.model)
        options = {"backend": "CPU", "numThread": load.threads, "precision": "normal", "memory": "normal"}
        self._session = self._net.createSession(options)
        self._input = self._net.getSessionInput(self._session)
        self._net.resizeTensor(self._input, load.shape)
        self._net.resizeSession(self._session)
        self._pictures = self._host(load.shape, load.pictures())
        self._output = self._net.getSessionOutput(self._session)
        shape = self._output.getShape()
        self._answer = self._host(shape, numpy.zeros(shape, numpy.float32))

    def run(self):
        self._input.copyFrom(self._pictures)
        self._net.runSession(self._session)
        self._output.copyToHostTensor(self._answer)
        return self._answer.getNumpyData()

    @staticmethod
    def _host(shape, numbers):
        """A tensor in the caller's memory and order."""
        return MNN.Tensor(tuple(shape), MNN.Halide_Type_Float, numbers, MNN.Tensor_DimensionType_Caffe)
