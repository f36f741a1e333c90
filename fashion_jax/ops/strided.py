"""Convolutions with stride 2, for whose kernel gradients XLA turns the input around slowly on CPU."""

import jax.numpy as jnp
from jax import Array, lax


def convolve_pixels(x: Array, kernel: Array, stride: int) -> Array:
    """1x1 convolution of x [batch, height, width, in] with kernel [1, 1, in, out], as one product."""
    seen = x[:, ::stride, ::stride]
    return (seen.reshape(-1, x.shape[3]) @ kernel[0, 0]).reshape(*seen.shape[:3], kernel.shape[3])


def kernel_gradient(x: Array, g: Array) -> Array:
    """The gradient for the kernel [3, 3, in, out] with padding 1: x convolved with g, images and features exchanged.

    XLA would make them change places number by number, each computed anew from what x comes from. In a loop it is done
    for x as it is, row by row, which stay in the cache.
    """
    batch, height, width, features = x.shape

    def turn_row(i: Array, turned: Array) -> Array:
        row = lax.dynamic_index_in_dim(x, i, 1).transpose(3, 1, 2, 0)
        return lax.dynamic_update_slice_in_dim(turned, row, i, 1)

    turned = lax.fori_loop(0, height, turn_row, jnp.zeros((features, height, width, batch), x.dtype))
    padding = [(1, 2 * outputs - size) for outputs, size in zip(g.shape[1:3], x.shape[1:3], strict=True)]
    return lax.conv_general_dilated(
        turned, g, (1, 1), padding, rhs_dilation=(2, 2), dimension_numbers=("NHWC", "IHWO", "HWNC")
    )
