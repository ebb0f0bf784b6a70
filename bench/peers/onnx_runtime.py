"""ONNX Runtime on its CPU provider: all optimisations, layouts among them; the batch is known to them."""

import onnxruntime


class Engine:
    def __init__(self, load):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = load.threads
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.add_free_dimension_override_by_name("batch", load.batch)
        self._session = onnxruntime.InferenceSession(load.model, options, providers=["CPUExecutionProvider"])
        self._pictures = {self._session.get_inputs()[0].name: load.pictures()}

    def run(self):
        return self._session.run(None, self._pictures)[0]
