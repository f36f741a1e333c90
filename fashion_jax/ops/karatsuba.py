"""3x3 convolutions with padding 1 of maps of 2x2 pixels, with a quarter of the multiplications of plain ones.

Two outputs between padding need 3 products per input and output channel instead of 6, by Karatsuba's trick. In both
directions this leaves nine products of [batch, in] and [in, out]. The gradients need the same transformed kernel.
"""

import itertools

import jax.numpy as jnp
import numpy as np
from jax import Array

from fashion_jax.ops.winograd import combination

# y = OUTPUT @ ((KERNEL @ k) * (INPUT @ x)) is the correlation of two numbers x between zeros with 3 numbers k.
_INPUT = np.array([[1, 1], [1, 0], [0, 1]])
_KERNEL = np.array([[0, 1, 0], [1, -1, 0], [0, -1, 1]])
_OUTPUT = np.array([[1, 0, 1], [1, 1, 0]])


def convolve(x: Array, kernel: Array) -> Array:
    """Convolves x [batch, 2, 2, in] with kernel [3, 3, in, out]."""
    return _map(_OUTPUT, [a @ b for a, b in zip(_of_map(_INPUT, x), _of_kernel(kernel), strict=True)])


def input_gradient(kernel: Array, g: Array) -> Array:
    """Returns the gradient of convolve for x, from the gradient g of its result."""
    return _map(_INPUT.T, [a @ b.T for a, b in zip(_of_map(_OUTPUT.T, g), _of_kernel(kernel), strict=True)])


def kernel_gradient(x: Array, g: Array) -> Array:
    """Returns the gradient of convolve for the kernel."""
    products = [a.T @ b for a, b in zip(_of_map(_INPUT, x), _of_map(_OUTPUT.T, g), strict=True)]
    return jnp.stack(_transformed(_KERNEL.T, products)).reshape(3, 3, x.shape[3], g.shape[3])


def _of_map(matrix: np.ndarray, x: Array) -> list[Array]:
    """Transforms a map [batch, 2, 2, features] to nine arrays [batch, features]."""
    return _transformed(matrix, [x[:, i, j] for i, j in itertools.product(range(2), range(2))])


def _of_kernel(kernel: Array) -> list[Array]:
    """Transforms a kernel [3, 3, in, out] to nine arrays [in, out]."""
    return _transformed(_KERNEL, [kernel[i, j] for i, j in itertools.product(range(3), range(3))])


def _map(matrix: np.ndarray, products: list[Array]) -> Array:
    """Combines nine products [batch, features] to [batch, 2, 2, features]."""
    pixels = _transformed(matrix, products)
    return jnp.stack(pixels, axis=1).reshape(-1, 2, 2, pixels[0].shape[1])


def _transformed(matrix: np.ndarray, grid: list[Array]) -> list[Array]:
    """Applies a matrix to both directions of a square grid, whose rows follow each other in the lists."""
    size = matrix.shape[1]
    rows = [[combination(weights, grid[j::size]) for j in range(size)] for weights in matrix]
    return [combination(weights, row) for row in rows for weights in matrix]
