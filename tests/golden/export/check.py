#!/usr/bin/env python3
"""What other programs make of exported files: python check.py PROGRAM [NETWORK...]

PROGRAM is the built `cspnet`; networks are those below, and the model inside the program. For each of them

timm         loads the safetensors files in all three precisions with strict=True, and answers as ONNX Runtime does for the ONNX file
cspnet       compares what it exports with ONNX Runtime itself, on the photos of examples/photos
OpenVINO     answers as ONNX Runtime does, with and without --embed-preprocess, for one picture and for three
parity       is printed; the script ends with 1 if any of this is not so

Needs timm, torch, safetensors, onnx, onnxruntime, openvino and Pillow. Networks are filled by the rule of the other reference values
(`cspnet new --init reference`), since those that are only initialised give all classes nearly the same probability.
"""
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
import timm
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[3]
PHOTOS = ROOT / "examples" / "photos"
MODEL = ROOT / "crates" / "cli" / "weights" / "clothing.safetensors"
# Our name and timm's, if it has the network.
NETWORKS = {
    "densenet121": "densenet121",
    "cspdarknet53": "cspdarknet53",
    "cspresnext50": "cspresnext50",
    "cspresnet50": "cspresnet50",
    "cs3darknet_m": "cs3darknet_m",
    "darknet53": "darknet53",
    "cspresnet9": None,
    "cspdensenet121": None,
    "csppeleenet": None,
}
TOLERANCE = 1e-4
failed = []


def check(what, holds, told=""):
    print(f"{'ok  ' if holds else 'FAIL'} {what} {told}".rstrip(), flush=True)
    if not holds:
        failed.append(what)


def export(program, *arguments):
    done = subprocess.run([program, "export", *map(str, arguments)], capture_output=True, text=True, cwd=ROOT)
    told = (done.stdout + done.stderr).strip().split("\n")
    check(f"cspnet export {' '.join(str(a) for a in arguments[:-2])}", done.returncode == 0, told[-1])
    return done.returncode == 0


def softmax(logits):
    e = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def photos(count, size):
    """Pieces of one size of photos, as bytes [count, height, width, 3]."""
    pieces = []
    for path in sorted(PHOTOS.glob("*.jpg")):
        photo = np.asarray(Image.open(path).convert("RGB"))
        if photo.shape[0] >= size[0] and photo.shape[1] >= size[1]:
            pieces.append(photo[: size[0], : size[1]])
    return np.stack(pieces[:count])


def engines(path):
    """What ONNX Runtime and OpenVINO answer with, in single precision."""
    runtime = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = runtime.get_inputs()[0].name
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda x: runtime.run(None, {name: x})[0], lambda x: compiled(x)[compiled.output(0)]


def onnx_answers(what, path, given, probabilities):
    onnx.checker.check_model(str(path), full_check=True)
    runtime, vino = engines(str(path))
    as_told = (lambda x: x) if probabilities else softmax
    three, one = as_told(runtime(given)), as_told(runtime(given[:1]))
    others = {
        "ONNX Runtime for one picture": one - three[:1],
        "OpenVINO for three": as_told(vino(given)) - three,
        "OpenVINO for one": as_told(vino(given[:1])) - three[:1],
    }
    for name, difference in others.items():
        largest = np.abs(difference).max()
        check(f"{what}: {name} answers as ONNX Runtime for three", largest <= TOLERANCE, f"{largest:.0e}")
    check(f"{what}: probabilities", np.allclose(three.sum(1), 1, atol=1e-4) and len(three) == 3)
    return runtime


def filled(program, ours, folder):
    path = folder / f"{ours}.safetensors"
    subprocess.run([program, "new", ours, "--init", "reference", "-o", path], check=True, capture_output=True)
    return path


def timm_loads(program, ours, theirs, folder, runtime, given):
    for dtype in "f32", "f16", "bf16":
        path = folder / f"{ours}.{dtype}.safetensors"
        model = folder / f"{ours}.safetensors"
        if not export(program, model, "--to", "safetensors", "--dtype", dtype, "-o", path):
            continue
        network = timm.create_model(theirs, pretrained=False).eval()
        network.load_state_dict(load_file(path), strict=True)
        with safe_open(path, "pt") as file:
            check(f"{ours} {dtype}: timm loads it with strict=True, manifest inside", '"network"' in file.metadata()["cspnet"])
        with torch.no_grad():
            answer = softmax(network(torch.from_numpy(given)).numpy())
        difference = np.abs(answer - softmax(runtime(given))).max()
        allowed = TOLERANCE if dtype == "f32" else 0.05
        check(f"{ours} {dtype}: timm answers as ONNX Runtime", difference <= allowed, f"{difference:.0e}")


def main(program, names):
    compare = ["--python", sys.executable, "--check-photos", PHOTOS]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for ours in names:
            network = MODEL if ours == "model" else filled(program, ours, folder)
            path = folder / "plain.onnx"
            if export(program, network, "--to", "onnx", *compare, "-o", path):
                runtime = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
                shape = [3, *runtime.get_inputs()[0].shape[1:]]
                given = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
                runtime = onnx_answers(f"{ours} plain", path, given, False)
                if NETWORKS.get(ours):
                    timm_loads(program, ours, NETWORKS[ours], folder, runtime, given)
            path = folder / "photos.onnx"
            if export(program, network, "--to", "onnx", "--embed-preprocess", *compare, "-o", path):
                for size in (300, 200), (180, 260):
                    onnx_answers(f"{ours} of photos {size[0]} x {size[1]}", path, photos(3, size), True)
    print(f"{len(failed)} failed")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(str(Path(sys.argv[1]).resolve()), sys.argv[2:] or ["model", *NETWORKS]))
