"""Exact convolutions that compile to fast code on every platform. Layouts are NHWC and HWIO."""

import functools
import math
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from fashion_jax.ops import karatsuba, plain, products, strided, winograd

# Where a map has fewer pixels than a 3x3 kernel, XLA exchanges the two, and its CPU backend then runs the convolution,
# or its gradient for the input, at 1 % of the processor's peak rate; as matrix products they run at the full rate.
_KERNEL_PIXELS = 9
# Winograd's transformation of a kernel costs as much as a hundred pixels. It costs more than it saves for maps with few
# channels or with tiles half outside the map, and a small convolution is not worth the longer compilation.
_MANY_PIXELS, _MANY_FEATURES, _MANY_PRODUCTS = 100, 16, 1 << 24
_FEW_MULTIPLICATIONS = 4  # per pixel; a plain convolution has 9
_MANY_IMAGES = 16  # of 2x2; with fewer, Karatsuba's transformation of the kernel costs more than it saves


def convolve(x: Array, kernel: Array, stride: int = 1) -> Array:
    """Convolves with a kernel of odd size and padding size // 2.

    Args:
        x: [batch, height, width, in_features].
        kernel: [size, size, in_features, out_features], of the type of x.
        stride: 1 or 2, the same in both directions.

    Returns:
        [batch, ceil(height / stride), ceil(width / stride), out_features].
    """
    if kernel.shape[0] == 1 and stride > 1:
        pixels, standard = (partial(way, stride=stride) for way in (strided.convolve_pixels, plain.convolve))
        return lax.platform_dependent(x, kernel, cpu=pixels, default=standard)
    return _equivalent(_method(x, kernel, stride), x, kernel)


def _suits_karatsuba(x: Array) -> bool:
    return x.shape[1:3] == (2, 2) and _transformable(x) and x.shape[0] >= _MANY_IMAGES


def _suits_winograd(x: Array, kernel: Array) -> bool:
    if not _transformable(x):
        return False
    pixels, features = math.prod(x.shape[:3]), kernel.shape[2:]
    return (
        pixels >= _MANY_PIXELS
        and min(features) >= _MANY_FEATURES
        and pixels * math.prod(features) >= _MANY_PRODUCTS
        and winograd.multiplications(*x.shape[1:3]) <= _FEW_MULTIPLICATIONS * math.prod(x.shape[1:3])
    )


def _transformable(x: Array) -> bool:
    """Whether x is precise enough to multiply sums and differences of it, and its number of images is known."""
    return x.dtype in (jnp.float32, jnp.float64) and isinstance(
        x.shape[0], int
    )  # an exported program may leave it open


class _Method(NamedTuple):
    """A way to compute a convolution with padding size // 2, and its gradients for the input and the kernel."""

    stride: int
    convolve: Callable[[Array, Array], Array]  # takes input and kernel
    input_gradient: Callable[[Array, Array, Array], Array]  # takes input, kernel and g
    kernel_gradient: Callable[[Array, Array], Array]  # takes input and g


def _method(x: Array, kernel: Array, stride: int) -> _Method:
    """Chooses how a convolution is computed on CPU."""
    size = kernel.shape[0]
    if size != 3:
        return _plain(size, stride)
    if stride == 1 and _suits_karatsuba(x):
        return _KARATSUBA
    if stride == 1 and _suits_winograd(x, kernel):
        return _WINOGRAD
    if math.prod(-(-side // stride) for side in x.shape[1:3]) < _KERNEL_PIXELS:
        return _PRODUCTS[stride]
    return _plain(size, stride) if stride == 1 else _STRIDED


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _equivalent(method: _Method, x: Array, kernel: Array) -> Array:
    """Convolves by a method on CPU, and plainly elsewhere."""
    return lax.platform_dependent(x, kernel, cpu=method.convolve, default=partial(plain.convolve, stride=method.stride))


def _forward(method: _Method, x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _equivalent(method, x, kernel), (x, kernel)


def _backward(method: _Method, saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    def gradients(x: Array, kernel: Array, g: Array) -> tuple[Array, Array]:
        return method.input_gradient(x, kernel, g), method.kernel_gradient(x, g)

    def standard(x: Array, kernel: Array, g: Array) -> tuple[Array, Array]:
        return jax.vjp(partial(plain.convolve, stride=method.stride), x, kernel)[1](g)

    return lax.platform_dependent(*saved, g, cpu=gradients, default=standard)


_equivalent.defvjp(_forward, _backward)


@functools.cache
def _plain(size: int, stride: int) -> _Method:
    return _Method(
        stride,
        partial(plain.convolve, stride=stride),
        partial(plain.input_gradient, stride=stride),
        partial(plain.kernel_gradient, size=size, stride=stride),
    )


def _of_equal_sizes(module: ModuleType) -> _Method:
    """Makes the method of a module whose convolution has an output as large as its input."""
    return _Method(1, module.convolve, lambda x, kernel, g: module.input_gradient(kernel, g), module.kernel_gradient)


_PRODUCTS = {
    stride: _Method(
        stride,
        *(partial(f, stride=stride) for f in (products.convolve, products.input_gradient, products.kernel_gradient)),
    )
    for stride in (1, 2)
}
_STRIDED = _plain(3, 2)._replace(kernel_gradient=strided.kernel_gradient)
_WINOGRAD, _KARATSUBA = _of_equal_sizes(winograd), _of_equal_sizes(karatsuba)
