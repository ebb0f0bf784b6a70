#!/usr/bin/env python3
"""Small ONNX files, and what they give, for checking that ours are read: python make.py [FOLDER]

Needs the Python packages `onnx` and `onnxruntime`; the latter computes the outputs in expected.json. All numbers are made by a rule.

computed.onnx  shapes computed from shapes, as PyTorch writes them; the batch, rows and columns are open
spelt.onnx     activations and biases spelt out in several nodes, of today's operators
old.onnx       version 7 of the operators, where attributes were what are inputs today
moved.onnx     channels shuffled, pixels shuffled, cut, joined along rows, padded, gathered
apart.onnx     dimensions that lie apart are reduced, joined and repeated; normalisations by each image; nodes that nobody needs
stored.onnx    initialisers of all types, as bytes and as numbers
beside.onnx    a weight in beside.bin
refused.onnx   nodes that are not read: a branch, a loop, an unknown operator, one of another domain
"""
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, checker, helper, numpy_helper

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
EXPECTED = {}


def numbers(*shape, seed=0, scale=1.0):
    """The same in every language: a multiplication modulo a prime."""
    count = int(np.prod(shape, dtype=int))
    places = (np.arange(count) * 7919 + 131 * seed + 17) % 2003
    return (scale * (places / 1001.5 - 1)).astype(np.float32).reshape(shape)


class Network:
    """Nodes one behind the other, and initialisers."""

    def __init__(self, shape, opset):
        self.nodes, self.initialisers, self.opset, self.count = [], [], opset, 0
        self.input = helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)

    def const(self, name, value, dtype=None):
        self.initialisers.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def weight(self, name, *shape, scale=0.4):
        return self.const(name, numbers(*shape, seed=len(self.initialisers), scale=scale))

    def __call__(self, operator, *inputs, outputs=1, name=None, **attributes):
        self.count += 1
        name = name or f"{operator.lower()}_{self.count}"
        given = [f"{name}_{i}" for i in range(outputs)] if outputs > 1 else [f"{name}_out"]
        self.nodes.append(helper.make_node(operator, list(inputs), given, name=name, **attributes))
        return given if outputs > 1 else given[0]

    def model(self, *outputs):
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]  # ranks come later
        graph = helper.make_graph(self.nodes, "small", [self.input], ends, self.initialisers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)


def save(name, model, shape):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs = session.run(None, {"input": numbers(*shape)})
    names = [output.name for output in model.graph.output]
    del model.graph.output[:]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None] * v.ndim) for n, v in zip(names, outputs)]
    model.graph.output.extend(ends)
    checker.check_model(model)
    onnx.save(model, FOLDER / f"{name}.onnx")
    arrays = [{"shape": list(v.shape), "numbers": [float(x) for x in v.ravel()]} for v in outputs]
    EXPECTED[name] = {"input": list(shape), "outputs": dict(zip(names, arrays))}


def computed():
    n = Network(["batch", 3, "height", "width"], 17)
    x = n("Conv", "input", n.weight("conv.weight", 6, 3, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1], name="conv")
    x = n("Relu", x)
    shape = n("Shape", x)
    height = n("Gather", shape, n.const("two", 2, np.int64), axis=0)
    width = n("Gather", shape, n.const("three", 3, np.int64), axis=0)
    zeros = [n.const(f"zero{i}", [0], np.int64) for i in range(2)]
    doubled = [n("Unsqueeze", n("Mul", side, "two"), zero) for side, zero in zip([height, width], zeros)]
    lead = n("Slice", shape, "zero0", n.const("end", [2], np.int64))
    sizes = n("Concat", lead, *doubled, axis=0)
    x = n("Resize", x, "", "", sizes, mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric")
    pooled = n("ReduceMean", x, axes=[2, 3], keepdims=0)
    batch = n("Unsqueeze", n("Gather", shape, n.const("none", 0, np.int64), axis=0), "zero0")
    target = n("Concat", batch, n.const("rest", [-1], np.int64), axis=0)
    x = n("Reshape", pooled, target)
    x = n("Gemm", x, n.weight("fc.weight", 6, 5), n.weight("fc.bias", 5), alpha=0.5, beta=2.0, name="fc")
    save("computed", n.model(n("Softmax", x)), (2, 3, 8, 10))


def spelt():
    n = Network(["batch", 4, 6, 6], 17)
    x = n("Conv", "input", n.weight("one.weight", 8, 4, 1, 1), name="one")
    x = n("Add", x, n.weight("one.bias", 1, 8, 1, 1))
    x = n("Mul", x, n("Sigmoid", x), name="silu")
    x = n("Mul", x, n("Tanh", n("Softplus", x)), name="mish")
    three, six, zero = (n.const(name, i, np.float32) for name, i in [("three", 3), ("six", 6), ("zero", 0)])
    gate = n("Clip", n("Add", x, three), zero, six)
    x = n("Div", n("Mul", x, gate), six, name="hardswish_a")
    gate = n("Div", n("Clip", n("Add", x, three), zero, six), six)
    x = n("Mul", x, gate, name="hardswish_b")
    x = n("Mul", n("HardSigmoid", x, alpha=1 / 6), x, name="hardswish_c")
    root, one, half = (n.const(name, i, np.float32) for name, i in [("root", np.sqrt(2)), ("one", 1), ("half", 0.5)])
    x = n("Mul", n("Mul", x, n("Add", n("Erf", n("Div", x, root)), one)), half, name="gelu_a")
    x = n("Mul", n("Mul", x, half), n("Add", n("Erf", n("Div", x, root)), one), name="gelu_b")
    x = n("Flatten", n("GlobalAveragePool", x))
    x = n("MatMul", n("Dropout", x), n.weight("fc.weight", 8, 5), name="fc")
    x = n("Add", n.weight("fc.bias", 5), x)
    save("spelt", n.model(n("Identity", x)), (2, 4, 6, 6))


def old():
    n = Network([2, 4, 7, 7], 7)
    x = n("Clip", "input", min=-0.5, max=0.75)
    norm = [n.weight(f"norm.{i}", 4) for i in range(3)]
    x = n("BatchNormalization", x, *norm, n.const("norm.3", [0.5, 1.0, 1.5, 2.0], np.float32), epsilon=1e-3)
    x = n("Pad", x, mode="reflect", pads=[0, 0, 1, 2, 0, 0, 0, 1])
    x = n("Slice", x, axes=[2, 3], starts=[1, -9], ends=[2147483647, 9])
    x = n("MaxPool", x, kernel_shape=[2, 3], auto_pad="SAME_UPPER", strides=[2, 2])
    x = n("Upsample", x, scales=[1.0, 1.0, 2.0, 2.0], mode="nearest")
    a, b = n("Split", x, outputs=2, axis=1, split=[1, 3])
    x = n("Concat", b, a, axis=1)
    x = n("LRN", x, size=3)
    x = n("PRelu", x, n.const("slope", numbers(4, 1, 1, scale=0.3)))
    x = n("AveragePool", x, kernel_shape=[3, 3], pads=[1, 1, 0, 0], strides=[2, 2])
    x = n("Squeeze", n("ReduceMean", x, axes=[2, 3], keepdims=1), axes=[2, 3])
    save("old", n.model(n("Softmax", x)), (2, 4, 7, 7))


def moved():
    n = Network([1, 8, 4, 6], 18)
    ints = lambda name, *values: n.const(name, values, np.int64)  # noqa: E731
    x = n("Reshape", "input", ints("groups", 1, 2, 4, 4, 6))
    x = n("Transpose", x, perm=[0, 2, 1, 3, 4])
    x = n("Reshape", x, ints("together", 1, 8, 4, 6))
    shuffled = n("DepthToSpace", x, blocksize=2, mode="CRD")
    back = n("SpaceToDepth", shuffled, blocksize=2)
    rows = n("Concat", x, back, axis=2)
    cut = n("Slice", rows, ints("starts", 6, 5), ints("ends", 0, -7), ints("axes", 2, 3), ints("steps", -2, -1))
    padded = n("Pad", cut, ints("pads", 1, 0, 0, 2), n.const("fill", 0.25, np.float32), ints("sides", 2, 3))
    gathered = n("Gather", padded, ints("odd", 7, 1, 4), axis=1)
    one = n("Gather", padded, n.const("third", 2, np.int64), axis=1)
    mean = n("ReduceMax", n("Transpose", gathered, perm=[0, 2, 3, 1]), ints("last", 3), keepdims=0)
    product = n("MatMul", one, n("Transpose", mean, perm=[0, 2, 1]))
    save("moved", n.model(gathered, product, shuffled), (1, 8, 4, 6))


def apart():
    n = Network(["batch", 4, 3, 4], 17)
    ints = lambda name, *values: n.const(name, values, np.int64)  # noqa: E731
    wide = n("Reshape", "input", ints("apart", 0, 2, 2, 3, 2, 2))
    less = n("Sub", wide, n("ReduceMean", wide, axes=[3, 5], keepdims=1))
    x = n("Reshape", less, ints("together", 0, 4, 3, 4))
    x = n("InstanceNormalization", x, n.weight("scale", 4), n.weight("shift", 4))
    x = n("LeakyRelu", x, alpha=-0.25)
    x = n("Pad", x, ints("pads", 0, 0, 1, 1, 0, 0, 1, 1), n.const("least", -np.inf, np.float32))
    x = n("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2])
    x = n("Expand", n("Reshape", x, ints("single", 0, 4, 2, 1, 2, 1)), ints("doubled", 1, 4, 2, 2, 2, 2))
    x = n("Reshape", x, ints("planes", 0, 4, 4, 4))
    batch = n("Gather", n("Shape", "input"), ints("first", 0), axis=0)
    token = n("Expand", n.weight("token", 1, 1, 4, 4), n("Concat", batch, ints("rest", 1, 4, 4), axis=0))
    x = n("Concat", token, x, axis=1)
    x = n("LayerNormalization", x, n.weight("gain", 4), axis=-1)
    x = n("MatMul", x, n("Softmax", n.weight("rows", 4, 3), axis=0))
    n("Einsum", "input", equation="bchw->bc", name="unused")
    save("apart", n.model(n("ReduceL2", x, axes=[2], keepdims=0)), (2, 4, 3, 4))


def stored():
    n = Network(["batch", 6], 17)
    values = np.array([0, 1, 2, 3, 100, 7])
    x = "input"
    types = ["FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE", "BOOL"]
    types[4:4] = [f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)]
    for kind in types:
        for raw in (False, True):
            number, name = getattr(TensorProto, kind), f"{kind.lower()}.{'bytes' if raw else 'numbers'}"
            array = values.astype(helper.tensor_dtype_to_np_dtype(number))
            data = array.tobytes() if raw else list(array)
            n.initialisers.append(helper.make_tensor(name, number, [6], data, raw=raw))
            x = n("Add", x, n("Cast", name, to=TensorProto.FLOAT))
    x = n("Div", x, n("Constant", value_float=26.0))
    save("stored", n.model(x), (3, 6))


def beside():
    n = Network(["batch", 3, 4, 4], 17)
    x = n("Conv", "input", n.weight("conv.weight", 5, 3, 3, 3), n.weight("conv.bias", 5), name="conv")
    model = n.model(x)
    save("beside", model, (2, 3, 4, 4))
    onnx.save(model, FOLDER / "beside.onnx", save_as_external_data=True, location="beside.bin", size_threshold=64)


def refused():
    n = Network([1, 3, 4, 4], 17)
    x = n("ConvTranspose", "input", n.weight("up.weight", 3, 3, 2, 2), name="up")
    flag = n.const("flag", True, bool)
    chosen = helper.make_tensor_value_info("chosen", TensorProto.FLOAT, None)
    branch = helper.make_graph([helper.make_node("Identity", [x], ["chosen"])], "branch", [], [chosen])
    y = n("If", flag, name="either", then_branch=branch, else_branch=branch)
    z = n("Twist", "input", name="twisted", domain="com.example")
    w = n("Relu", n("Einsum", "input", equation="bchw->bc", name="sums"), name="behind")
    s = n("Softmax", "input", axis=0, name="mixed")
    a = n("AveragePool", "input", kernel_shape=[2, 2, 2], name="solid")
    onnx.save(n.model(y, z, w, s, a), FOLDER / "refused.onnx")


for make in (computed, spelt, old, moved, apart, stored, beside, refused):
    make()
(FOLDER / "expected.json").write_text(json.dumps(EXPECTED, separators=(",", ":")) + "\n")
