"""Exact normalisation over a batch with a hand-written gradient."""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax


@jax.custom_vjp
def normalize(x: Array, scale: Array, bias: Array, shift: Array, epsilon: float) -> tuple[Array, Array, Array]:
    """Normalises groups of images with the mean and the biased variance of each group.

    Both statistics come from one pass over x - shift. So a batch that is spread over devices needs one collective
    instead of two that wait for one another. A shift near the mean keeps the variance from cancelling.

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
) -> tuple[tuple[Array, Array, Array], tuple[Array, ...]]:
    flat = _flat(x)
    mean, var = _statistics(flat, shift)
    inverse = 1 / jnp.sqrt(var + epsilon)
    y = (flat - mean) * (scale * inverse) + bias
    return (y.astype(x.dtype).reshape(x.shape), mean[:, 0, 0], var[:, 0, 0]), (x, scale, mean, inverse)


def _backward(saved: tuple[Array, ...], cotangents: tuple[Array, ...]) -> tuple[Array, Array, Array, Array, None]:
    x, scale, mean, inverse = saved
    flat, g = _flat(x), _flat(cotangents[0])
    mean_g, mean_gx = _means(lambda x, g, mean: (g.astype(mean.dtype), g * (x - mean)), (flat, g), (mean,))
    mean_gx = mean_gx * inverse
    dx = ((g - mean_g - (flat - mean) * (inverse * mean_gx)) * (scale * inverse)).astype(x.dtype).reshape(x.shape)
    count = flat.shape[1] * flat.shape[2]
    scale_gradient, bias_gradient = (mean.sum((0, 1, 2)) * count for mean in (mean_gx, mean_g))
    return dx, scale_gradient, bias_gradient, jnp.zeros_like(scale), None


normalize.defvjp(_forward, _backward)


def normalize_pooled(
    pool: Callable[[Array], Array], x: Array, scale: Array, bias: Array, shift: Array, epsilon: float
) -> tuple[Array, Array, Array]:
    """Normalises as `normalize` does, then applies a maximum pooling.

    On TPUs and GPUs the pooling comes first, so that only the maxima are normalised and kept for the gradient. On CPU
    it comes last: XLA's CPU backend would recompute the gradient of the pooling wherever it is used.

    Args:
        pool: maps [batch, height, width, channels] to maxima [batch, h, w, channels].
        x: [groups, images, height, width, channels].
        scale: see normalize.
        bias: see normalize.
        shift: see normalize.
        epsilon: see normalize.

    Returns:
        The normalised maxima [groups, images, h, w, channels], mean and variance, as normalize returns them.
    """
    ways = {"cpu": _normalize_then_pool, "default": _pool_then_normalize}
    ways = {platform: partial(way, pool, epsilon) for platform, way in ways.items()}
    return lax.platform_dependent(x, scale, bias, shift, **ways)


def _normalize_then_pool(
    pool: Callable[[Array], Array], epsilon: float, x: Array, scale: Array, bias: Array, shift: Array
) -> tuple[Array, Array, Array]:
    y, mean, var = normalize(x, scale, bias, shift, epsilon)
    return _pool_groups(pool, y), mean, var


def _pool_then_normalize(
    pool: Callable[[Array], Array], epsilon: float, x: Array, scale: Array, bias: Array, shift: Array
) -> tuple[Array, Array, Array]:
    # Does what largest_normalized does, but computes all on the signed x, so that x itself need not be kept.
    sign = _sign(scale)
    y, mean, var = _pooled_first(pool, epsilon, x * sign.astype(x.dtype), scale * sign, bias, shift * sign)
    return y, mean * sign, var


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _pooled_first(
    pool: Callable[[Array], Array], epsilon: float, x: Array, scale: Array, bias: Array, shift: Array
) -> tuple[Array, Array, Array]:
    """Pools, then normalises by the statistics of all of x; its scale is not negative.

    The gradient is written by hand, so that only x and the maxima are kept for it, in their own type: JAX would keep
    both in the type of the statistics too.
    """
    return _pooled_first_forward(pool, epsilon, x, scale, bias, shift)[0]


def _pooled_first_forward(
    pool: Callable[[Array], Array], epsilon: float, x: Array, scale: Array, bias: Array, shift: Array
) -> tuple[tuple[Array, Array, Array], tuple[Array, ...]]:
    mean, var = _statistics(_flat(x), shift)
    inverse = 1 / jnp.sqrt(var + epsilon)
    maxima = _pool_groups(pool, x)
    y = (_flat(maxima) - mean) * (scale * inverse) + bias
    y = y.astype(x.dtype).reshape(maxima.shape)
    return (y, mean[:, 0, 0], var[:, 0, 0]), (x, maxima, scale, mean, inverse)


def _pooled_first_backward(
    pool: Callable[[Array], Array], epsilon: float, saved: tuple[Array, ...], cotangents: tuple[Array, ...]
) -> tuple[Array, Array, Array, Array]:
    x, maxima, scale, mean, inverse = saved
    flat, g = _flat(maxima), _flat(cotangents[0])
    mean_g, mean_gx = _means(lambda x, g, mean: (g.astype(mean.dtype), g * (x - mean)), (flat, g), (mean,))
    mean_gx = mean_gx * inverse
    count = flat.shape[1] * flat.shape[2]
    scale_gradient, bias_gradient = ((mean * count).sum((0, 1, 2)) for mean in (mean_gx, mean_g))
    of_maxima = (g * (scale * inverse)).astype(maxima.dtype).reshape(maxima.shape)
    (of_pool,) = jax.vjp(partial(_pool_groups, pool), x)[1](of_maxima)
    whole = _flat(x)
    share = count / (whole.shape[1] * whole.shape[2])  # the statistics are of all pixels, the gradient of the maxima
    of_statistics = (mean_g + (whole - mean) * (inverse * mean_gx)) * (scale * inverse * share)
    dx = (_flat(of_pool) - of_statistics).astype(x.dtype).reshape(x.shape)
    return dx, scale_gradient, bias_gradient, jnp.zeros_like(scale)


_pooled_first.defvjp(_pooled_first_forward, _pooled_first_backward)


def _pool_groups(pool: Callable[[Array], Array], x: Array) -> Array:
    y = pool(x.reshape(-1, *x.shape[2:]))
    return y.reshape(*x.shape[:2], *y.shape[1:])


def largest_normalized(pool: Callable[[Array], Array], x: Array, scale: Array) -> Array:
    """Returns the values of x [batch, height, width, channels] that a maximum pooling takes once they are normalised.

    Normalising keeps the order of a channel's values, or reverses it if the channel's scale is negative.
    """
    sign = _sign(scale).astype(x.dtype)
    return pool(x * sign) * sign


def _sign(scale: Array) -> Array:
    return jnp.where(scale < 0, -1, 1).astype(scale.dtype)


def _statistics(flat: Array, shift: Array) -> tuple[Array, Array]:
    """Returns mean and variance [groups, 1, 1, channels] of [groups, images, pixels, channels], from one pass."""
    shift = jnp.broadcast_to(shift, (flat.shape[0], 1, 1, flat.shape[-1]))
    first, second = _means(lambda x, shift: (x - shift, jnp.square(x - shift)), (flat,), (shift,))
    return first + shift, jnp.maximum(second - jnp.square(first), 0)


def _flat(x: Array) -> Array:
    """Reshapes [groups, images, ..., channels] to [groups, images, pixels, channels]."""
    return x.reshape(*x.shape[:2], -1, x.shape[-1])


def _means(
    function: Callable[..., tuple[Array, Array]], maps: tuple[Array, ...], others: tuple[Array, ...]
) -> list[Array]:
    """Returns the means [groups, 1, 1, channels] of both results of a function.

    The function takes `maps` [groups, images, pixels, channels] and `others` [groups, 1, 1, channels]; its results have
    the type of `others`.
    """
    groups, images, pixels, channels = maps[0].shape
    height = max(k for k in range(1, math.isqrt(pixels) + 1) if pixels % k == 0)

    def sums(*maps: Array) -> tuple[Array, ...]:
        return tuple(x.sum((1, 2), keepdims=True) for x in function(*maps, *others))

    def sums_by_rows(*maps: Array) -> tuple[Array, ...]:
        # XLA's CPU backend sums the pixels channel by channel; this sums whole rows with vector instructions, and
        # reads the maps once for all sums.
        rows = [x.reshape(groups, images, height, -1, channels) for x in maps]

        def row(i: Array | int) -> tuple[Array, ...]:
            return function(*(lax.dynamic_index_in_dim(x, i, 2, keepdims=False) for x in rows), *others)

        zeros = (jnp.zeros((groups, images, pixels // height, channels), others[0].dtype),) * 2
        totals = lax.fori_loop(0, height, lambda i, totals: jax.tree.map(jnp.add, totals, row(i)), zeros)
        return tuple(x.sum((1, 2), keepdims=True) for x in totals)

    totals = lax.platform_dependent(*maps, cpu=sums_by_rows if height > 1 else sums, default=sums)
    return [total / (images * pixels) for total in totals]
