"""Computes the operations of an exported network with plain JAX operations, the same on every platform."""

from __future__ import annotations

import itertools
from functools import partial, singledispatch
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from fashion_jax.serving.exports import operations as ops

# Answers are the same on every device: GPUs and TPUs would multiply in less than float32.
_EXACT = lax.Precision.HIGHEST

# XLA computes convolutions of maps of this height and width at 1 % of the rate of CPUs, and as matrix products in full.
_TINY_MAP = 2


@singledispatch
def compute(operation: Any, *inputs: Array) -> Array:
    """Computes one operation.

    Raises:
        TypeError: the operation is of a class that has no function here.
    """
    raise TypeError(f"{__name__} has no function for the operation {type(operation).__name__}")


@compute.register
def _(operation: ops.Cast, x: Array) -> Array:
    return x.astype(jnp.float32)


@compute.register
def _(operation: ops.Resize, x: Array) -> Array:
    x = jnp.einsum("ph,nhwc->npwc", operation.rows, x, precision=_EXACT)
    return jnp.einsum("qw,npwc->npqc", operation.columns, x, precision=_EXACT)


@compute.register
def _(operation: ops.AppendMirrored, x: Array) -> Array:
    return jnp.concatenate([x, x[:, :, ::-1]])


@compute.register
def _(operation: ops.Scale, x: Array) -> Array:
    return x * operation.factors


@compute.register
def _(operation: ops.Shift, x: Array) -> Array:
    return x + operation.terms


@compute.register
def _(operation: ops.Conv, x: Array) -> Array:
    stride, padding, size = operation.stride, (operation.padding,) * 2, operation.kernel.shape[0]
    if size > 1 and max(x.shape[1:3]) <= _TINY_MAP * stride:
        taps = _taps(jnp.pad(x, ((0, 0), padding, padding, (0, 0))), size, stride)
        kernel = operation.kernel.reshape(-1, operation.kernel.shape[3])
        return jnp.dot(jnp.concatenate(taps, axis=-1), kernel, precision=_EXACT) + operation.bias
    y = lax.conv_general_dilated(
        x,
        jnp.asarray(operation.kernel),
        (stride, stride),
        (padding, padding),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=_EXACT,
    )
    return y + operation.bias


def _taps(padded: Array, size: int, stride: int) -> list[Array]:
    """Returns what each of the size x size positions of a kernel sees of a padded map, row by row."""
    rows, columns = (stride * ((length - size) // stride) + 1 for length in padded.shape[1:3])
    positions = itertools.product(range(size), range(size))
    return [padded[:, i : i + rows : stride, j : j + columns : stride] for i, j in positions]


@compute.register
def _(operation: ops.MaxPool, x: Array) -> Array:
    size, stride, padding = operation.size, operation.stride, (operation.padding,) * 2
    windows = (1, size, size, 1), (1, stride, stride, 1), ((0, 0), padding, padding, (0, 0))
    return lax.reduce_window(x, -jnp.inf, lax.max, *windows)


@compute.register
def _(operation: ops.Mean, x: Array) -> Array:
    return x.mean(axis=(1, 2))


@compute.register
def _(operation: ops.Flatten, x: Array) -> Array:
    return x.reshape(x.shape[0], -1)


@compute.register
def _(operation: ops.Dense, x: Array) -> Array:
    return jnp.dot(x, operation.kernel, precision=_EXACT) + operation.bias


@compute.register
def _(operation: ops.Relu, x: Array) -> Array:
    return jnp.maximum(x, 0)


@compute.register
def _(operation: ops.Sigmoid, x: Array) -> Array:
    return lax.logistic(x)


@compute.register
def _(operation: ops.Tanh, x: Array) -> Array:
    return jnp.tanh(x)


@compute.register
def _(operation: ops.Add, x: Array, y: Array) -> Array:
    return x + y


@compute.register
def _(operation: ops.Multiply, x: Array, y: Array) -> Array:
    return x * y


@compute.register
def _(operation: ops.Concatenate, *inputs: Array) -> Array:
    return jnp.concatenate(inputs, axis=-1)


@compute.register
def _(operation: ops.Softmax, x: Array) -> Array:
    return jax.nn.softmax(x)


@compute.register
def _(operation: ops.LogSoftmax, x: Array) -> Array:
    return jax.nn.log_softmax(x)


@compute.register
def _(operation: ops.LogSumExp, x: Array) -> Array:
    return jax.nn.logsumexp(x, axis=-1)


@compute.register
def _(operation: ops.Gather, x: Array) -> Array:
    return _take(x, operation.indices, axis=1)


@compute.register
def _(operation: ops.FirstHalf, x: Array) -> Array:
    return x.reshape(2, -1, operation.features)[0]


@compute.register
def _(operation: ops.LogMeanOfHalves, x: Array) -> Array:
    return jax.nn.logsumexp(x.reshape(2, -1, operation.features), axis=0) - jnp.log(2.0)


@compute.register
def _(operation: ops.Likeliest, x: Array) -> Array:
    return _take(jnp.asarray(operation.table), lax.argmax(x, 1, jnp.int32), axis=0)


@compute.register
def _(operation: ops.Identity, x: Array) -> Array:
    return x


_take = partial(jnp.take, mode="clip")  # the default, to fill with NaN, adds a comparison for each index
