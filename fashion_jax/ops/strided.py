"""Convolutions with stride 2; for their kernel gradients, XLA transposes the input slowly on CPU."""

import jax.numpy as jnp
from jax import Array, lax

from fashion_jax.ops import plain


def convolve_pixels(x: Array, kernel: Array, stride: int) -> Array:
    """Convolves x [batch, height, width, in] with a 1x1 kernel [1, 1, in, out], as one matrix product."""
    seen = x[:, ::stride, ::stride]
    return (seen.reshape(-1, x.shape[3]) @ kernel[0, 0]).reshape(*seen.shape[:3], kernel.shape[3])


def kernel_gradient(x: Array, g: Array) -> Array:
    """Returns the gradient for the kernel [3, 3, in, out] with padding 1.

    It is x convolved with g, images and features exchanged. XLA would exchange them number by number and recompute each
    number of x. The loop does it on x as it is, row by row, and each row stays in the cache.
    """
    batch, height, width, features = x.shape

    def turn_row(i: Array, turned: Array) -> Array:
        row = lax.dynamic_index_in_dim(x, i, 1).transpose(3, 1, 2, 0)
        return lax.dynamic_update_slice_in_dim(turned, row, i, 1)

    turned = lax.fori_loop(0, height, turn_row, jnp.zeros((features, height, width, batch), x.dtype))
    return plain.turned_kernel_gradient(turned, g, 3, 2)
