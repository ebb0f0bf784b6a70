"""ncnn: packed layouts, Winograd and sgemm as they are by default; what is stored or computed in half precision is off.

A network takes one image: those of a batch follow one another.
"""

import ncnn
import numpy


class Engine:
    def __init__(self, load):
        self._net = ncnn.Net()
        options = self._net.opt
        options.num_threads = load.threads
        for half in (
            "use_fp16_packed",
            "use_fp16_storage",
            "use_fp16_arithmetic",
            "use_bf16_packed",
            "use_bf16_storage",
        ):
            setattr(options, half, False)
        if self._net.load_param(f"{load.model}.param") or self._net.load_model(f"{load.model}.bin"):
            raise ValueError("ncnn cannot load its files")
        self._pictures = load.pictures()
        self._mats = [ncnn.Mat(picture) for picture in self._pictures]

    def run(self):
        return numpy.stack([self._one(mat) for mat in self._mats])

    def _one(self, mat):
        extractor = self._net.create_extractor()
        extractor.input("in0", mat)
        failed, answer = extractor.extract("out0")
        if failed:
            raise ValueError("ncnn cannot run the network")
        return numpy.array(answer)
