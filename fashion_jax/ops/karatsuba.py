"""3x3 convolutions with padding 1 of maps of 2x2 pixels, with a quarter of the multiplications of plain ones.

Two outputs between padding need 3 products per input and output channel instead of 6, by Karatsuba's trick. In both
directions this leaves nine products of [batch, in] and [in, out]. The gradients need the same transformed kernel.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from fashion_jax.ops.winograd import combination

# y = OUTPUT @ ((KERNEL @ k) * (INPUT @ x)) is the correlation of two numbers x between zeros with 3 numbers k.
_INPUT = np.array([[1, 1], [1, 0], [0, 1]])
_KERNEL = np.array([[0, 1, 0], [1, -1, 0], [0, -1, 1]])
_OUTPUT = np.array([[1, 0, 1], [1, 1, 0]])


def convolve(x: Array, kernel: Array) -> Array:
    """Convolves x [batch, 2, 2, in] with kernel [3, 3, in, out]."""
    products = [a @ b for a, b in zip(_transformed(_INPUT, x, 1), _transformed(_KERNEL, kernel), strict=True)]
    return _map(_OUTPUT, products)


def input_gradient(kernel: Array, g: Array) -> Array:
    """Returns the gradient of convolve for x, from the gradient g of its result."""
    products = [a @ b.T for a, b in zip(_transformed(_OUTPUT.T, g, 1), _transformed(_KERNEL, kernel), strict=True)]
    return _map(_INPUT.T, products)


def kernel_gradient(x: Array, g: Array) -> Array:
    """Returns the gradient of convolve for the kernel."""
    products = [a.T @ b for a, b in zip(_transformed(_INPUT, x, 1), _transformed(_OUTPUT.T, g, 1), strict=True)]
    return jnp.stack(_transformed(_KERNEL.T, _grid(products))).reshape(3, 3, x.shape[3], g.shape[3])


def _transformed(matrix: np.ndarray, a: Array, axis: int = 0) -> list[Array]:
    """Applies a matrix to `axis` and to the axis after it; returns the results as one list."""
    rows = [combination(weights, _along(a, axis)) for weights in matrix]
    return [combination(weights, _along(row, axis)) for row in rows for weights in matrix]


def _along(a: Array, axis: int) -> list[Array]:
    return [lax.index_in_dim(a, i, axis, keepdims=False) for i in range(a.shape[axis])]


def _map(matrix: np.ndarray, products: list[Array]) -> Array:
    """Combines nine products [batch, features] to [batch, 2, 2, features]."""
    pixels = _transformed(matrix, _grid(products))
    return jnp.stack(pixels, axis=1).reshape(-1, 2, 2, pixels[0].shape[1])


def _grid(products: list[Array]) -> Array:
    return jnp.stack(products).reshape(3, 3, *products[0].shape)
