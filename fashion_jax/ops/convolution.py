"""Convolutions, exact, lowered well on every platform. Layouts are NHWC and HWIO."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from fashion_jax.ops import products, winograd

# XLA's CPU backend runs 3x3 convolutions on tiny maps, and their gradients, at 1 % of the processor's
# rate; as matrix products they run at its full rate.
_TINY_MAP = 2
# Winograd's transformation of a kernel costs as much as some hundred pixels, that of a map with few channels more
# than it saves, and filling up the last tile must not double the width.
_MANY_PIXELS, _MANY_FEATURES, _FULL_TILES = 512, 16, 0.85


def conv3x3(x: Array, kernel: Array, stride: int = 1) -> Array:
    """3x3 convolution with padding 1.

    Args:
        x: [batch, height, width, in_features].
        kernel: [3, 3, in_features, out_features], of the type of x.
        stride: the same in both directions, 1 or 2.

    Returns:
        [batch, ceil(height / stride), ceil(width / stride), out_features].
    """
    if max(x.shape[1:3]) <= _TINY_MAP * stride:
        return _equivalent(_PRODUCTS[stride], x, kernel)
    if stride == 1 and _suits_winograd(x, kernel):
        return _equivalent(_WINOGRAD, x, kernel)
    return _conv(x, kernel, stride)


def _suits_winograd(x: Array, kernel: Array) -> bool:
    batch, height, width, _ = x.shape
    return (
        x.dtype in (jnp.float32, jnp.float64)
        and min(kernel.shape[2:]) >= _MANY_FEATURES
        and width / (-(-width // winograd.TILE) * winograd.TILE) >= _FULL_TILES
        and isinstance(batch, int)  # and not a variable of an exported program
        and batch * height * width >= _MANY_PIXELS
    )


class _Method(NamedTuple):
    """A way to convolve 3x3 with padding 1, and its gradients for the input and the kernel."""

    stride: int
    convolve: Callable[[Array, Array], Array]  # of input and kernel
    input_gradient: Callable[[Array, Array, Array], Array]  # of input, kernel and g
    kernel_gradient: Callable[[Array, Array], Array]  # of input and g


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _equivalent(method: _Method, x: Array, kernel: Array) -> Array:
    """The convolution by a method on CPU, the plain one elsewhere."""
    return lax.platform_dependent(x, kernel, cpu=method.convolve, default=partial(_conv, stride=method.stride))


def _forward(method: _Method, x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _equivalent(method, x, kernel), (x, kernel)


def _backward(method: _Method, saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    def gradients(x: Array, kernel: Array, g: Array) -> tuple[Array, Array]:
        return method.input_gradient(x, kernel, g), method.kernel_gradient(x, g)

    def plain(x: Array, kernel: Array, g: Array) -> tuple[Array, Array]:
        return jax.vjp(partial(_conv, stride=method.stride), x, kernel)[1](g)

    return lax.platform_dependent(*saved, g, cpu=gradients, default=plain)


_equivalent.defvjp(_forward, _backward)


def _conv(x: Array, kernel: Array, stride: int = 1) -> Array:
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _winograd_input_gradient(x: Array, kernel: Array, g: Array) -> Array:
    del x
    return winograd.input_gradient(kernel, g)


_PRODUCTS = {
    stride: _Method(
        stride,
        *(partial(f, stride=stride) for f in (products.convolve, products.input_gradient, products.kernel_gradient)),
    )
    for stride in (1, 2)
}
_WINOGRAD = _Method(1, winograd.convolve, _winograd_input_gradient, winograd.kernel_gradient)
