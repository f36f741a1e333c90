"""Normalisation by the statistics of the batch, with a gradient that takes one pass, and one collective, over it."""

import jax
import jax.numpy as jnp
from jax import Array

EPSILON = 1e-5


@jax.custom_vjp
def normalize(x: Array, scale: Array, bias: Array, shift: Array) -> tuple[Array, Array, Array]:
    """Normalises each group over all its axes but the last.

    Mean and variance come from one pass over x - shift, so that where the batch is spread over devices they take one
    collective, and not two of which the second waits for the first; a shift near the mean keeps the variance
    from cancelling. Neither mean nor variance passes a gradient on, and shift receives none.

    Args:
        x: [groups, ..., channels].
        scale, bias, shift: [channels], at least float32.

    Returns:
        x normalised, scaled and shifted, of its shape and type; the mean and the biased variance of each group,
        [groups, 1, ..., channels], of the type of scale.
    """
    return _forward(x, scale, bias, shift)[0]


def _axes(x: Array) -> tuple[int, ...]:
    return tuple(range(1, x.ndim - 1))


def _forward(x: Array, scale: Array, bias: Array, shift: Array) -> tuple[tuple[Array, Array, Array], tuple]:
    shifted = x.astype(scale.dtype) - shift
    first = shifted.mean(_axes(x), keepdims=True)
    second = jnp.square(shifted).mean(_axes(x), keepdims=True)
    mean, var = first + shift, jnp.maximum(second - jnp.square(first), 0)
    inverse = 1 / jnp.sqrt(var + EPSILON)
    y = (x.astype(scale.dtype) - mean) * (scale * inverse) + bias
    return (y.astype(x.dtype), mean, var), (x, scale, mean, inverse)


def _backward(kept: tuple, gradients: tuple[Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
    x, scale, mean, inverse = kept
    g = gradients[0].astype(scale.dtype)
    normal = (x.astype(scale.dtype) - mean) * inverse
    count = x.size // (x.shape[0] * x.shape[-1])
    g_bias = g.sum(_axes(x), keepdims=True)
    g_scale = (g * normal).sum(_axes(x), keepdims=True)
    g_x = scale * inverse * (g - (g_bias + normal * g_scale) / count)
    g_scale, g_bias = (total.reshape(-1, x.shape[-1]).sum(0) for total in (g_scale, g_bias))
    return g_x.astype(x.dtype), g_scale, g_bias, jnp.zeros_like(scale)


normalize.defvjp(_forward, _backward)
