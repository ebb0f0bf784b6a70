"""Answers of ONNX Runtime for photos that come on standard input: python3 -c SCRIPT FILE

Everything is done as the file's own metadata say, by arithmetic of this script. A line of JSON comes first: the version, or
what is missing. Then, for each photo, a line with `shape` and `photo` (whether it is bytes [height, width, 3] or prepared
single-precision numbers [channels, height, width]) and its bytes; the answer is a line with a list of numbers, or an `error`.
"""
import json
import sys

# What lies in the folder where this happens to be run is not to be imported.
sys.path[:] = [folder for folder in sys.path if folder]


def tell(value):
    print(json.dumps(value), flush=True)


try:
    import numpy as np
    import onnxruntime
except ImportError as error:
    tell({"missing": str(error)})
    sys.exit()


def bilinear(x):
    return np.maximum(1 - x, 0)


def bicubic(x):
    near = (1.5 * x - 2.5) * x * x + 1
    far = -0.5 * (((x - 5) * x + 8) * x - 4)
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def weights(size, to, shape):
    """Pillow's weights of `size` pixels for each of `to`, in units of 2^-22."""
    if size == to:
        return np.eye(size) * 2**22
    scale = size / to
    centres = (np.arange(to)[:, None] + 0.5) * scale
    exact = shape(np.abs(np.arange(size) + 0.5 - centres) / max(scale, 1))
    exact *= 2**22 / exact.sum(1, keepdims=True)
    return np.trunc(exact + np.copysign(0.5, exact))


def to_bytes(sums):
    return np.clip(np.floor(sums / 2**22 + 0.5), 0, 255)


def middle(values, axis, crop):
    """The `crop` values in the middle of an axis, with zeros around them where there are fewer."""
    over = values.shape[axis] - crop
    if over < 0:
        around = [(0, 0)] * values.ndim
        around[axis] = (-over // 2, -over - -over // 2)
        return np.pad(values, around)
    return np.take(values, round(over / 2) + np.arange(crop), axis)


def prepared(photo, how):
    """The picture that the network takes; products of whole numbers in double precision are exact."""
    height, width, _ = photo.shape
    rows, columns = how["size"]
    if how["resize"] == "stretch":
        tall, wide = rows, columns
    else:
        shorter = how["resize"]["shorter_side"]
        tall, wide = height * shorter // min(height, width), width * shorter // min(height, width)
    shape = {"bilinear": bilinear, "bicubic": bicubic}[how["filter"]]
    planes = photo.transpose(2, 0, 1).astype(np.float64)
    planes = to_bytes(planes @ weights(width, wide, shape).T)
    planes = to_bytes(weights(height, tall, shape) @ planes)
    planes = middle(middle(planes, 1, rows), 2, columns)
    mean, std = (np.array(how[name], np.float64)[:, None, None] for name in ("mean", "std"))
    return ((planes / 255 - mean) / std).astype(np.float32)


def answer(session, header, numbers):
    given = session.get_inputs()[0]
    if header["photo"] and given.type != "tensor(uint8)":
        numbers = prepared(numbers, json.loads(session.get_modelmeta().custom_metadata_map["cspnet.preprocess"]))
    numbers = session.run(None, {given.name: numbers[None]})[0].reshape(-1)
    if not np.isfinite(numbers).all():
        raise ValueError("it answers with numbers that are not finite")
    return numbers.tolist()


def main():
    try:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
    except Exception as error:
        return tell({"error": str(error)})
    tell({"version": onnxruntime.__version__})
    for line in iter(sys.stdin.buffer.readline, b""):
        header = json.loads(line)
        kind = np.dtype(np.uint8 if header["photo"] else "<f4")
        given = sys.stdin.buffer.read(int(np.prod(header["shape"])) * kind.itemsize)
        try:
            tell(answer(session, header, np.frombuffer(given, kind).reshape(header["shape"])))
        except Exception as error:
            tell({"error": str(error)})


main()
