"""Computes the operations of an exported network with TensorFlow operations that TFLite has as builtins."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import singledispatch
from typing import Any

from fashion_jax.data.tensorflow_cpu import import_tensorflow
from fashion_jax.serving.exports import operations as ops
from fashion_jax.serving.exports.graph import IMAGES, Network

_LOWEST = -3.4e38  # never the maximum of a window

Tensor = Any  # of TensorFlow, which has no types
Change = Callable[[str, Tensor], Tensor]  # of the result of a layer, given the layer's name


def unchanged(name: str, value: Tensor) -> Tensor:
    """Returns the result of a layer as it is."""
    return value


def tf_function(network: Network, change: Change = unchanged) -> Any:
    """Returns the network as a tf.function of `images`, of any number, which returns its outputs by name."""
    tf = import_tensorflow()
    images = tf.TensorSpec([None, *network.canvas, 3], tf.uint8, name=IMAGES)
    return tf.function(lambda images: tf_outputs(network, images, change), autograph=False, input_signature=[images])


def tf_outputs(network: Network, images: Tensor, change: Change = unchanged) -> dict[str, Tensor]:
    """Computes a network with TensorFlow.

    Args:
        network: the network.
        images: uint8 canvases [batch, height, width, 3].
        change: returns what stands for the result of a layer from then on.

    Returns:
        The outputs by name.
    """
    tf = import_tensorflow()
    values = {IMAGES: images}
    for layer in network.layers:
        value = compute(layer.operation, tf, *(values[name] for name in layer.inputs))
        values[layer.name] = change(layer.name, value)
    return {name: tf.identity(values[name]) for name in network.outputs}


@singledispatch
def compute(operation: Any, tf: Any, *inputs: Tensor) -> Tensor:
    """Computes one operation.

    Raises:
        TypeError: the operation is of a class that has no function here.
    """
    raise TypeError(f"{__name__} has no function for the operation {type(operation).__name__}")


@compute.register
def _(operation: ops.Cast, tf: Any, x: Tensor) -> Tensor:
    return tf.cast(x, tf.float32)


@compute.register
def _(operation: ops.Resize, tf: Any, x: Tensor) -> Tensor:
    x = tf.matmul(tf.transpose(x, [0, 2, 3, 1]), operation.rows.T)  # [batch, width, channels, new height]
    x = tf.matmul(tf.transpose(x, [0, 3, 2, 1]), operation.columns.T)  # [batch, new height, channels, new width]
    return tf.transpose(x, [0, 1, 3, 2])


@compute.register
def _(operation: ops.AppendMirrored, tf: Any, x: Tensor) -> Tensor:
    return tf.concat([x, tf.reverse(x, [2])], 0)


@compute.register
def _(operation: ops.Scale, tf: Any, x: Tensor) -> Tensor:
    return x * operation.factors


@compute.register
def _(operation: ops.Shift, tf: Any, x: Tensor) -> Tensor:
    return x + operation.terms


@compute.register
def _(operation: ops.Conv, tf: Any, x: Tensor) -> Tensor:
    size, padding = operation.kernel.shape[0], operation.padding
    is_same = operation.stride == 1 and 2 * padding == size - 1
    if padding and not is_same:  # "SAME" would pad one side more than the other
        x = tf.pad(x, _sides(padding))
    kind = "SAME" if is_same and padding else "VALID"
    return tf.nn.bias_add(tf.nn.conv2d(x, operation.kernel, operation.stride, kind), operation.bias)


@compute.register
def _(operation: ops.MaxPool, tf: Any, x: Tensor) -> Tensor:
    if operation.padding:
        x = tf.pad(x, _sides(operation.padding), constant_values=_LOWEST)
    return tf.nn.max_pool2d(x, operation.size, operation.stride, "VALID")


def _sides(padding: int) -> list[list[int]]:
    return [[0, 0], [padding, padding], [padding, padding], [0, 0]]


@compute.register
def _(operation: ops.Mean, tf: Any, x: Tensor) -> Tensor:
    return tf.reduce_mean(x, [1, 2])


@compute.register
def _(operation: ops.Flatten, tf: Any, x: Tensor) -> Tensor:
    return tf.reshape(x, [-1, math.prod(x.shape[1:])])


@compute.register
def _(operation: ops.Dense, tf: Any, x: Tensor) -> Tensor:
    return tf.nn.bias_add(tf.matmul(x, operation.kernel), operation.bias)


@compute.register
def _(operation: ops.Relu, tf: Any, x: Tensor) -> Tensor:
    return tf.nn.relu(x)


@compute.register
def _(operation: ops.Sigmoid, tf: Any, x: Tensor) -> Tensor:
    return tf.sigmoid(x)


@compute.register
def _(operation: ops.Tanh, tf: Any, x: Tensor) -> Tensor:
    return tf.tanh(x)


@compute.register
def _(operation: ops.Add, tf: Any, x: Tensor, y: Tensor) -> Tensor:
    return x + y


@compute.register
def _(operation: ops.Multiply, tf: Any, x: Tensor, y: Tensor) -> Tensor:
    return x * y


@compute.register
def _(operation: ops.Concatenate, tf: Any, *inputs: Tensor) -> Tensor:
    return tf.concat(inputs, -1)


@compute.register
def _(operation: ops.Softmax, tf: Any, x: Tensor) -> Tensor:
    return tf.nn.softmax(x)


@compute.register
def _(operation: ops.LogSoftmax, tf: Any, x: Tensor) -> Tensor:
    return tf.nn.log_softmax(x)


@compute.register
def _(operation: ops.LogSumExp, tf: Any, x: Tensor) -> Tensor:
    return _log_sum_exp(tf, x, -1)


def _log_sum_exp(tf: Any, x: Tensor, axis: int) -> Tensor:
    largest = tf.reduce_max(x, axis, keepdims=True)  # tf.reduce_logsumexp asks whether it is finite
    return tf.squeeze(largest, axis) + tf.math.log(tf.reduce_sum(tf.exp(x - largest), axis))


@compute.register
def _(operation: ops.Gather, tf: Any, x: Tensor) -> Tensor:
    return tf.gather(x, operation.indices.astype("int32"), axis=1)


@compute.register
def _(operation: ops.FirstHalf, tf: Any, x: Tensor) -> Tensor:
    return tf.reshape(x, [2, -1, operation.features])[0]


@compute.register
def _(operation: ops.LogMeanOfHalves, tf: Any, x: Tensor) -> Tensor:
    return _log_sum_exp(tf, tf.reshape(x, [2, -1, operation.features]), 0) - math.log(2)


@compute.register
def _(operation: ops.Likeliest, tf: Any, x: Tensor) -> Tensor:
    return tf.gather(operation.table, tf.argmax(x, 1, tf.int32))


@compute.register
def _(operation: ops.Identity, tf: Any, x: Tensor) -> Tensor:
    return tf.identity(x)
