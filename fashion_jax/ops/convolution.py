"""Convolutions, exact, lowered well on every platform. Layouts are NHWC and HWIO."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

# XLA's CPU backend runs 3x3 convolutions on tiny maps, and their gradients, at 1 % of the processor's
# rate; as one matrix product over patches they run at its full rate.
_TINY_MAP = 2


def conv3x3(x: Array, kernel: Array, stride: int = 1) -> Array:
    """3x3 convolution with padding 1.

    Args:
        x: [batch, height, width, in_features].
        kernel: [3, 3, in_features, out_features], of the type of x.
        stride: the same in both directions.

    Returns:
        [batch, ceil(height / stride), ceil(width / stride), out_features].
    """
    if max(x.shape[1:3]) > _TINY_MAP * stride:
        return _conv(x, kernel, stride)
    return lax.platform_dependent(
        x, kernel, cpu=partial(_conv_as_dot, stride=stride), default=partial(_conv, stride=stride)
    )


def _conv(x: Array, kernel: Array, stride: int) -> Array:
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _conv_as_dot(x: Array, kernel: Array, stride: int) -> Array:
    height, width = (-(-size // stride) for size in x.shape[1:3])
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    taps = [
        padded[:, i : i + stride * (height - 1) + 1 : stride, j : j + stride * (width - 1) + 1 : stride]
        for i in range(3)
        for j in range(3)
    ]
    patches = jnp.concatenate(taps, axis=-1)
    return jax.lax.dot_general(patches, kernel.reshape(-1, kernel.shape[-1]), (((3,), (0,)), ((), ())))
