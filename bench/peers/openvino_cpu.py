"""OpenVINO's CPU plugin: for latency, in single precision also where the CPU has bfloat16; nothing is copied."""

import openvino


class Engine:
    def __init__(self, load):
        core = openvino.Core()
        model = core.read_model(load.model)
        model.reshape(load.shape)
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": load.threads,
        }
        self._request = core.compile_model(model, "CPU", options).create_infer_request()
        self._pictures = [load.pictures()]

    def run(self):
        return self._request.infer(self._pictures, share_inputs=True, share_outputs=True)[0]
