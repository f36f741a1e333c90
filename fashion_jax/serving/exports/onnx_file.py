"""Writes a network as an ONNX file, and runs such a file with onnxruntime.

The file needs only operators that the CPU builds of onnxruntime and onnxruntime-web have, takes any number of images,
and holds the canvas and the classes in its metadata.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from functools import singledispatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fashion_jax.serving.exports import operations as ops
from fashion_jax.serving.exports.folder import MODELS
from fashion_jax.serving.exports.graph import FEATURES, IMAGES, PATH, Network, probabilities_name

if TYPE_CHECKING:
    import onnx

MODEL_FILE = MODELS["onnx"]

# Runtimes since 2022 read these versions (onnxruntime 1.12).
_OPSET = 17
_IR_VERSION = 8
_BATCH = "batch"  # the symbol of the number of images
_TINY_MAP = 2  # height and width up to which a convolution is a matrix product


def write(network: Network, folder: Path) -> None:
    """Writes `MODEL_FILE` into a folder, and checks it."""
    import onnx

    path = folder / MODEL_FILE
    onnx.save(onnx_model(network), path)
    onnx.checker.check_model(str(path), full_check=True)


def read(folder: Path) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Returns a function of uint8 canvases [n, height, width, 3] that returns the outputs by name; thread-safe.

    onnxruntime sends telemetry to Microsoft unless ORT_DISABLE_TELEMETRY is set when it is imported, as it is here.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    # Threads that wait in a loop would take the processors from those that decode images.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(folder / MODEL_FILE, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def compute(images: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, {IMAGES: images}), strict=True))

    return compute


def onnx_model(network: Network) -> onnx.ModelProto:
    """Returns the model with its weights.

    Maps are [batch, channels, height, width] in it, as ONNX wants them.
    """
    from onnx import TensorProto, helper

    writer = _Writer(network.canvas)
    for layer in network.layers:
        writer.add_layer(layer.name, layer.operation, layer.inputs)
    taxonomy = network.taxonomy
    outputs = [
        *((probabilities_name(level), TensorProto.FLOAT, taxonomy.num_classes(level)) for level in taxonomy.levels),
        (PATH, TensorProto.INT32, len(taxonomy.levels)),
        (FEATURES, TensorProto.FLOAT, network.num_features),
    ]
    graph = helper.make_graph(
        writer.nodes,
        "fashion_jax",
        [helper.make_tensor_value_info(IMAGES, TensorProto.UINT8, [_BATCH, *network.canvas, 3])],
        [helper.make_tensor_value_info(name, kind, [_BATCH, size]) for name, kind, size in outputs],
        writer.initializers,
    )
    opset = helper.make_opsetid("", _OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION, producer_name="fashion_jax")
    about = {
        "canvas": network.canvas,
        "resize": network.resize,
        "levels": taxonomy.levels,
        "labels": taxonomy.classes,
    }
    helper.set_model_props(model, {key: json.dumps(value, ensure_ascii=False) for key, value in about.items()})
    return model


class _Writer:
    """Nodes and weights that are being put together.

    Attributes:
        nodes: in the order in which they are computed.
        initializers: the weights.
        maps: name of each result that is a map -> its (height, width); all others are vectors.
    """

    def __init__(self, canvas: tuple[int, int]) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.maps: dict[str, tuple[int, int]] = {IMAGES: canvas}

    def add_layer(self, name: str, operation: ops.Operation, inputs: tuple[str, ...]) -> None:
        if inputs[0] in self.maps and not isinstance(operation, ops.Mean | ops.Flatten):
            self.maps[name] = _map_size(operation, *self.maps[inputs[0]])
        _add(operation, self, name, *inputs)

    def node(self, kind: str, name: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node of an ONNX operator with one result; returns the name of the result."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def constant(self, name: str, values: np.ndarray) -> str:
        """Adds weights; returns their name."""
        from onnx import numpy_helper

        self.initializers.append(numpy_helper.from_array(values, name))
        return name

    def per_channel(self, name: str, values: np.ndarray, of: str) -> str:
        """Adds weights [channels] of the result `of`, in a shape that is broadcast over a map; returns their name."""
        return self.constant(name, values.reshape(-1, 1, 1) if of in self.maps else values)

    def halves(self, name: str, x: str, features: int) -> str:
        """Adds the reshaping of vectors [2 * batch, features] to [2, batch, features]; returns its name."""
        shape = self.constant(f"{name}/shape", np.array([2, -1, features], np.int64))
        return self.node("Reshape", f"{name}/halves", x, shape)


def _map_size(operation: ops.Operation, height: int, width: int) -> tuple[int, int]:
    """Returns the (height, width) of the map that an operation makes of one of this height and width."""
    if isinstance(operation, ops.Resize):
        return len(operation.rows), len(operation.columns)
    if isinstance(operation, ops.Conv | ops.MaxPool):
        size = operation.size if isinstance(operation, ops.MaxPool) else operation.kernel.shape[0]
        height, width = (1 + (n + 2 * operation.padding - size) // operation.stride for n in (height, width))
    return height, width


@singledispatch
def _add(operation: Any, writer: _Writer, name: str, *inputs: str) -> None:
    """Adds the nodes of an operation, the last of which has the result `name`."""
    raise TypeError(f"{__name__} has no function for the operation {type(operation).__name__}")


@_add.register
def _(operation: ops.Cast, writer: _Writer, name: str, x: str) -> None:
    from onnx import TensorProto

    x = writer.node("Transpose", f"{name}/transposed", x, perm=[0, 3, 1, 2])
    writer.node("Cast", name, x, to=TensorProto.FLOAT)


@_add.register
def _(operation: ops.Resize, writer: _Writer, name: str, x: str) -> None:
    rows = writer.constant(f"{name}/rows", operation.rows)
    columns = writer.constant(f"{name}/columns", operation.columns.T)
    writer.node("MatMul", name, writer.node("MatMul", f"{name}/by_rows", rows, x), columns)


@_add.register
def _(operation: ops.AppendMirrored, writer: _Writer, name: str, x: str) -> None:
    numbers = {"starts": -1, "ends": np.iinfo(np.int64).min, "axes": 3, "steps": -1}
    slices = [writer.constant(f"{name}/{key}", np.array([value], np.int64)) for key, value in numbers.items()]
    writer.node("Concat", name, x, writer.node("Slice", f"{name}/flipped", x, *slices), axis=0)


@_add.register
def _(operation: ops.Scale, writer: _Writer, name: str, x: str) -> None:
    writer.node("Mul", name, x, writer.per_channel(f"{name}/factors", operation.factors, x))


@_add.register
def _(operation: ops.Shift, writer: _Writer, name: str, x: str) -> None:
    writer.node("Add", name, x, writer.per_channel(f"{name}/terms", operation.terms, x))


@_add.register
def _(operation: ops.Conv, writer: _Writer, name: str, x: str) -> None:
    kernel = writer.constant(f"{name}/kernel", operation.kernel.transpose(3, 2, 0, 1))
    if writer.maps[x] == writer.maps[name] and max(writer.maps[x]) <= _TINY_MAP and operation.padding:
        _add_tiny_conv(writer, name, x, kernel, operation)
        return
    bias = writer.constant(f"{name}/bias", operation.bias)
    window = {"kernel_shape": operation.kernel.shape[:2], "strides": [operation.stride] * 2}
    writer.node("Conv", name, x, kernel, bias, pads=[operation.padding] * 4, **window)


def _add_tiny_conv(writer: _Writer, name: str, x: str, kernel: str, operation: ops.Conv) -> None:
    """Adds a convolution of a tiny map as a matrix product of the flat maps.

    The runtime's convolution would multiply the padding too, and read the kernel anew for each image. The matrix is cut
    out of the kernel, which the runtime does once, when it loads the file: [features * pixels of the output, features *
    pixels of the input].
    """
    (height, width), (in_features, features) = writer.maps[x], operation.kernel.shape[2:]
    axes = writer.constant(f"{name}/axes", np.array([2, 3]))
    shape = writer.constant(f"{name}/block", np.array([features, 1, in_features * height * width]))
    blocks = []
    for i, j in itertools.product(range(height), range(width)):  # a pixel of the output
        starts = np.array([operation.padding - i, operation.padding - j])
        first = writer.constant(f"{name}/{i}{j}/starts", starts)
        end = writer.constant(f"{name}/{i}{j}/ends", starts + (height, width))
        taps = writer.node("Slice", f"{name}/{i}{j}/taps", kernel, first, end, axes)
        blocks.append(writer.node("Reshape", f"{name}/{i}{j}", taps, shape))
    rows = writer.node("Concat", f"{name}/rows", *blocks, axis=1)
    shape = writer.constant(f"{name}/shape", np.array([features * height * width, in_features * height * width]))
    matrix = writer.node("Reshape", f"{name}/matrix", rows, shape)
    bias = writer.constant(f"{name}/bias", operation.bias.repeat(height * width))
    flat = writer.node("Flatten", f"{name}/flat", x, axis=1)
    flat = writer.node("Gemm", f"{name}/product", flat, matrix, bias, transB=1)
    shape = writer.constant(f"{name}/map", np.array([-1, features, height, width]))
    writer.node("Reshape", name, flat, shape)


@_add.register
def _(operation: ops.MaxPool, writer: _Writer, name: str, x: str) -> None:
    window = {"kernel_shape": [operation.size] * 2, "strides": [operation.stride] * 2}
    writer.node("MaxPool", name, x, pads=[operation.padding] * 4, **window)


@_add.register
def _(operation: ops.Mean, writer: _Writer, name: str, x: str) -> None:
    writer.node("Flatten", name, writer.node("GlobalAveragePool", f"{name}/pooled", x), axis=1)


@_add.register
def _(operation: ops.Flatten, writer: _Writer, name: str, x: str) -> None:
    if x in writer.maps:
        x = writer.node("Transpose", f"{name}/transposed", x, perm=[0, 2, 3, 1])
    writer.node("Flatten", name, x, axis=1)


@_add.register
def _(operation: ops.Dense, writer: _Writer, name: str, x: str) -> None:
    kernel = writer.constant(f"{name}/kernel", operation.kernel)
    writer.node("Gemm", name, x, kernel, writer.constant(f"{name}/bias", operation.bias))


_SAME: dict[type, tuple[str, dict[str, Any]]] = {
    ops.Relu: ("Relu", {}),
    ops.Sigmoid: ("Sigmoid", {}),
    ops.Tanh: ("Tanh", {}),
    ops.Add: ("Add", {}),
    ops.Multiply: ("Mul", {}),
    ops.Concatenate: ("Concat", {"axis": 1}),
    ops.Softmax: ("Softmax", {"axis": -1}),
    ops.LogSoftmax: ("LogSoftmax", {"axis": -1}),
    ops.LogSumExp: ("ReduceLogSumExp", {"axes": [-1], "keepdims": 0}),
    ops.Identity: ("Identity", {}),
}  # operations without weights that ONNX has too


def _add_same(operation: Any, writer: _Writer, name: str, *inputs: str) -> None:
    kind, attributes = _SAME[type(operation)]
    writer.node(kind, name, *inputs, **attributes)


for _operation in _SAME:
    _add.register(_operation, _add_same)


@_add.register
def _(operation: ops.Gather, writer: _Writer, name: str, x: str) -> None:
    writer.node("Gather", name, x, writer.constant(f"{name}/indices", operation.indices), axis=1)


@_add.register
def _(operation: ops.FirstHalf, writer: _Writer, name: str, x: str) -> None:
    first = writer.constant(f"{name}/first", np.array(0, np.int64))
    writer.node("Gather", name, writer.halves(name, x, operation.features), first, axis=0)


@_add.register
def _(operation: ops.LogMeanOfHalves, writer: _Writer, name: str, x: str) -> None:
    halves = writer.halves(name, x, operation.features)
    total = writer.node("ReduceLogSumExp", f"{name}/sum", halves, axes=[0], keepdims=0)
    writer.node("Sub", name, total, writer.constant(f"{name}/log_2", np.array(np.log(2), np.float32)))


@_add.register
def _(operation: ops.Likeliest, writer: _Writer, name: str, x: str) -> None:
    row = writer.node("ArgMax", f"{name}/row", x, axis=1, keepdims=0)
    writer.node("Gather", name, writer.constant(f"{name}/table", operation.table), row, axis=0)
