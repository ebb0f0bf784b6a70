"""The networks that are measured, and their files: ours, two of ONNX, and what is made of one for ncnn and MNN.

Weights of networks that answer follow the project's rule for reference values, so that no normalisation is trivial; those
of networks that train are as published, for with others rounding has more to say in what comes of a step.
Pictures are random.
"""

import array
import filecmp
import json
import os
import random
import subprocess
from dataclasses import dataclass

from . import environment

# What networks are called in tables; others have their own names there.
TITLES = {
    "cspdarknet53": "CSPDarknet-53",
    "darknet53": "Darknet-53",
    "cspresnet50": "CSPResNet-50",
    "cspresnext50": "CSPResNeXt-50",
    "densenet121": "DenseNet-121",
    "densenet201": "DenseNet-201",
    "cspdensenet121:gamma=0.5,fusion=both": "CSPDenseNet-121",
    "resnet50": "ResNet-50",
    "densenet_bc:depth=100,growth=12": "DenseNet-BC-100-12",
}

SEED = 1


@dataclass(frozen=True)
class Network:
    """A network for square pictures of one size."""

    spec: str
    size: int

    @classmethod
    def parse(cls, text):
        """From NAME, NAME:knob=value,... or either with @SIZE; the size is by default what the network was made for.

        Raises ValueError if there is no such network or size.
        """
        spec, at, size = text.partition("@")
        try:
            return cls(spec, int(size) if at else _own_size(spec))
        except ValueError:
            raise ValueError(f"`{text}` is no NETWORK or NETWORK@SIZE") from None

    @property
    def label(self):
        return f"{TITLES.get(self.spec, self.spec)} @{self.size}"

    @property
    def folder(self):
        return environment.HOME / "networks" / f"{self.spec}@{self.size}".replace(":", "-").replace(",", "-")

    def file(self, form):
        """The file of that form, as an engine is told it."""
        return self.folder / f"net.{form}"

    def write(self, forms):
        """Writes the network in these forms and those they are made of.

        What is made of the ONNX file is kept as long as that is the same.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if "train.onnx" in forms:
            self._new("train.safetensors", "published", self.file("train.onnx"), "node")
        if forms & {"onnx", "ncnn", "mnn"}:
            self._write_answering()

    def _write_answering(self):
        onnx, new = self.file("onnx"), self.folder / "new.onnx"
        self._new("safetensors", "reference", new, "fold")
        converted = self.folder / "converted"
        if converted.exists() and filecmp.cmp(onnx, new, shallow=False):
            new.unlink()
            return
        converted.unlink(missing_ok=True)
        os.replace(new, onnx)
        self._convert(onnx)
        converted.touch()

    def _new(self, form, init, onnx, norm):
        """Writes our file and ONNX: there normalisations are folded, or nodes, and every parameter then is as it was."""
        ours, size = self.file(form), ["--size", self.size]
        environment.run(environment.PROGRAM, "new", self.spec, "--init", init, "--output", ours)
        # The workers compare answers themselves.
        form = ["--to", "onnx", *size, "--batch-norm", norm, "--no-check"]
        environment.run(environment.PROGRAM, "export", ours, *form, "--output", onnx)

    def _convert(self, onnx):
        pnnx = environment.VENV / "bin" / "pnnx"
        environment.run(pnnx, onnx, f"inputshape=[1,3,{self.size},{self.size}]", "fp16=0")
        # MNN's own script for this would report the conversion to its makers, and install what it needs for that.
        tool = [environment.PYTHON, "-c", "import sys, _tools; _tools.mnnconvert(sys.argv)"]
        files = ["--modelFile", onnx, "--MNNModel", self.file("mnn")]
        environment.run(*tool, "-f", "ONNX", *files, "--bizCode", "bench")


def pictures(size, count):
    """A file of so many pictures, `[count, 3, size, size]` random single-precision numbers of mean 0 and variance 1."""
    path = environment.HOME / "networks" / f"pictures-{count}x{size}.f32"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        source = random.Random(SEED)
        with path.open("wb") as file:
            array.array("f", (source.gauss(0.0, 1.0) for _ in range(count * 3 * size * size))).tofile(file)
    return path


def _own_size(spec):
    """The size that our program tells of a network. Raises ValueError if it knows no such network."""
    name = spec.partition(":")[0]
    command = [environment.PROGRAM, "models", name, "--json"]
    told = subprocess.run(command, check=False, capture_output=True, text=True).stdout
    for line in told.splitlines():
        return json.loads(line)["size"]
    raise ValueError
