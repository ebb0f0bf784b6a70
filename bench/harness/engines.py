"""The engines that are compared, ours first: those that answer, and those that train.

Not here: how each runs a network. Those in Python are in bench/peers, those in Rust in bench/rust-peers/src/bin.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Engine:
    """One engine: what it is called, what its worker is, and which file it loads."""

    name: str
    label: str
    worker: str
    form: str
    package: str
    arguments: tuple = ()

    @property
    def rust(self):
        return self.package in ("cspnet", "tract-onnx", "rten")


OURS = Engine("cspnet", "cspnet", "cspnet", "safetensors", "cspnet")
STRICT = Engine("cspnet-strict", "cspnet --strict", "cspnet", "safetensors", "cspnet", ("--strict",))

PEERS = (
    Engine("onnxruntime", "ONNX Runtime", "onnx_runtime", "onnx", "onnxruntime"),
    Engine("openvino", "OpenVINO", "openvino_cpu", "onnx", "openvino"),
    Engine("ncnn", "ncnn", "ncnn_cpu", "ncnn", "ncnn"),
    Engine("mnn", "MNN", "mnn", "mnn", "mnn"),
    Engine("opencv", "OpenCV", "opencv_dnn", "onnx", "opencv-python-headless"),
    Engine("torch", "PyTorch", "torch_eager", "onnx", "torch"),
    Engine("torch-channels-last", "PyTorch channels last", "torch_channels_last", "onnx", "torch"),
    Engine("tract", "tract", "tract", "onnx", "tract-onnx"),
    Engine("rten", "rten", "rten", "onnx", "rten"),
)


TRAINING = Engine("cspnet", "cspnet", "cspnet_train", "train.safetensors", "cspnet")
TORCH_DOUBLE = Engine("torch-double", "PyTorch in double precision", "torch_train_double", "train.onnx", "torch")

TRAINING_PEERS = (
    Engine("torch", "PyTorch", "torch_train", "train.onnx", "torch"),
    Engine("torch-channels-last", "PyTorch channels last", "torch_train_channels_last", "train.onnx", "torch"),
    Engine("torch-compiled", "PyTorch compiled", "torch_train_compiled", "train.onnx", "torch"),
)


def chosen(peers, names):
    """Those of `peers` that have these names, in the order of the table.

    Raises ValueError for a name that is none of theirs.
    """
    unknown = set(names) - {peer.name for peer in peers}
    if unknown:
        raise ValueError(f"no such peer: {', '.join(sorted(unknown))}")
    return [peer for peer in peers if peer.name in names]
