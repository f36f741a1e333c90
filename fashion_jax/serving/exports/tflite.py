"""Writes and reads a network for TFLite (LiteRT), with built-in operations only, in float32 or 8-bit integers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fashion_jax.data.tensorflow_cpu import import_tensorflow
from fashion_jax.devices.host import usable_processors
from fashion_jax.serving.exports import operations as ops
from fashion_jax.serving.exports.folder import MODELS

if TYPE_CHECKING:
    from fashion_jax.serving.exports.graph import Network

_BATCH = 32  # images whose activations are in memory at a time

_INTEGERS = (ops.Add, ops.Concatenate, ops.Conv, ops.Dense, ops.Flatten, ops.MaxPool, ops.Mean, ops.Relu, ops.Shift)
_FLOATS = (ops.Gather, ops.LogSoftmax, ops.LogSumExp, ops.Softmax)  # of log-probabilities, as is all that leads to them

Range = tuple[float, float]  # lowest, highest


def write(network: Network, folder: Path, calibration: np.ndarray | None = None) -> None:
    """Writes the network into the folder of an export.

    With calibration, convolutions and hidden layers compute in 8-bit integers. The logits and what follows them stay in
    float32: probabilities in steps of 1 / 256 would be useless.

    Args:
        network: the network.
        folder: of the export.
        calibration: real canvases, uint8 [n, height, width, 3], whose activations give the ranges of the integers; None
            keeps everything in float32.
    """
    from fashion_jax.serving.exports.tensorflow_operations import tf_function

    tf = import_tensorflow()
    ranges = {} if calibration is None else activation_ranges(network, calibration)

    def rounded(name: str, value: Any) -> Any:
        if name not in ranges:
            return value
        return tf.quantization.fake_quant_with_min_max_args(value, *ranges[name], num_bits=8)

    module = tf.Module()
    module.predict = tf_function(network, rounded)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.predict.get_concrete_function()], module)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if calibration is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    (folder / MODELS["tflite"]).write_bytes(converter.convert())


def activation_ranges(network: Network, images: np.ndarray) -> dict[str, Range]:
    """Returns the range of each result that becomes 8-bit integers: name of its layer -> range, which includes 0.

    Args:
        network: the network.
        images: canvases, uint8 [n, height, width, 3].
    """
    from fashion_jax.serving.exports.tensorflow_operations import tf_outputs

    tf = import_tensorflow()
    ranges = dict.fromkeys(_integer_results(network), (0.0, 0.0))

    def watch(name: str, value: Any) -> Any:
        if name in ranges:
            low, high = ranges[name]
            ranges[name] = min(low, float(tf.reduce_min(value))), max(high, float(tf.reduce_max(value)))
        return value

    for start in range(0, len(images), _BATCH):
        tf_outputs(network, tf.constant(images[start : start + _BATCH]), watch)
    return {name: (low, high) for name, (low, high) in ranges.items() if low < high}


def _integer_results(network: Network) -> list[str]:
    """Returns the layers whose results become integers: all that leads to a convolution or a hidden layer.

    A layer before a ReLU is computed together with it, so that only the result of the ReLU counts. What is resized
    stays in float32, since TFLite resizes no integers by matrices.
    """
    consumers: dict[str, list[ops.Operation]] = {}
    leading: set[str] = set()
    resized: set[str] = set()
    for layer in reversed(network.layers):
        is_leading = layer.name in leading or isinstance(layer.operation, ops.Conv | ops.Dense)
        is_kept = layer.name in resized and isinstance(layer.operation, ops.MaxPool | ops.Relu)
        for name in layer.inputs:
            consumers.setdefault(name, []).append(layer.operation)
            if is_leading and not isinstance(layer.operation, _FLOATS):
                leading.add(name)
            if is_kept or isinstance(layer.operation, ops.Resize):
                resized.add(name)
    return [
        layer.name
        for layer in network.layers
        if layer.name in leading - resized
        and isinstance(layer.operation, _INTEGERS)
        and not all(isinstance(operation, ops.Relu) for operation in consumers[layer.name])
    ]


def read(folder: Path) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Returns the function that runs the model of an export on all processors.

    Raises:
        ValueError: the file holds no model that takes `images`.
    """
    from ai_edge_litert.interpreter import Interpreter

    path = folder / MODELS["tflite"]
    runner = Interpreter(str(path), num_threads=usable_processors()).get_signature_runner()
    running = threading.Lock()

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        with running:  # an interpreter has one set of buffers
            return runner(images=images)

    return run
