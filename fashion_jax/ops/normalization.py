"""Normalisation over a batch with its own gradient, exact."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array


@jax.custom_vjp
def normalize(x: Array, scale: Array, bias: Array, shift: Array, epsilon: float) -> tuple[Array, Array, Array]:
    """Normalises groups of images with the mean and the biased variance of each.

    Both come from one pass over x - shift, so that where the batch is spread over devices they take one collective,
    and not two of which the second waits for the first. A shift near the mean keeps the variance from cancelling.

    Args:
        x: [groups, images, ..., channels].
        scale: [channels], at least float32: the type of the computation, and of mean and variance.
        bias: [channels].
        shift: [channels], which receives no gradient.
        epsilon: added to the variance.

    Returns:
        The normalised x, of its type; mean and variance [groups, channels], through which no gradient flows.
    """
    return _forward(x, scale, bias, shift, epsilon)[0]


def _forward(
    x: Array, scale: Array, bias: Array, shift: Array, epsilon: float
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    flat, shift = _flat(x), jnp.broadcast_to(shift, (x.shape[0], 1, 1, x.shape[-1]))
    first = _mean(lambda x, shift: x - shift, flat, shift)
    second = _mean(lambda x, shift: jnp.square(x - shift), flat, shift)
    mean, var = first + shift, jnp.maximum(second - jnp.square(first), 0)
    inverse = 1 / jnp.sqrt(var + epsilon)
    y = (flat - mean) * (scale * inverse) + bias
    return (y.astype(x.dtype).reshape(x.shape), mean[:, 0, 0], var[:, 0, 0]), (x, scale, mean, inverse)


def _backward(saved: tuple[Array, ...], cotangents: tuple[Array, ...]) -> tuple[Array, Array, Array, Array, None]:
    x, scale, mean, inverse = saved
    flat, g = _flat(x), _flat(cotangents[0])
    mean_g = _mean(lambda g, mean: g.astype(mean.dtype), g, mean)
    mean_gx = _mean(lambda x, g, mean: g * (x - mean), flat, g, mean) * inverse
    dx = ((g - mean_g - (flat - mean) * (inverse * mean_gx)) * (scale * inverse)).astype(x.dtype)
    count = flat.shape[1] * flat.shape[2]
    totals = (mean.sum((0, 1, 2)) * count for mean in (mean_gx, mean_g))
    return dx.reshape(x.shape), *totals, jnp.zeros_like(scale), None


normalize.defvjp(_forward, _backward)


def _flat(x: Array) -> Array:
    """[groups, images, ..., channels] to [groups, images, pixels, channels]."""
    return x.reshape(*x.shape[:2], -1, x.shape[-1])


def _mean(function: Callable[..., Array], *arrays: Array) -> Array:
    """[groups, 1, 1, channels]: the mean of a function of arrays [groups, images, pixels, channels].

    Arrays [groups, 1, 1, channels] may follow.
    """
    return function(*arrays).mean((1, 2), keepdims=True)
