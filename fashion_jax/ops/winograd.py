"""3x3 convolutions by Winograd's minimal filtering, with a third of the multiplications of plain ones.

Outputs in tiles of 2 rows and 4 columns need 24 products per input and output channel instead of 72: F(2, 3) nested in
F(4, 3) of Lavin and Gray 2015 (https://arxiv.org/abs/1509.09308), which leaves 24 matrix products. Maps that such tiles
do not fill, such as 3x3 and 5x5, have tiles of 3x3, with 25 products instead of 81. The rounding error stays at a few
units of float32's last place; with F(4, 3) in both directions it would be larger, at the same speed.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax


class _Filter(NamedTuple):
    """F(m, 3): output @ ((kernel @ k) * (input @ x)) is the correlation of m + 2 numbers x with 3 numbers k."""

    input: np.ndarray
    kernel: np.ndarray
    output: np.ndarray

    @property
    def tile(self) -> int:
        return len(self.output)


_TWO = _Filter(
    input=np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]]),
    kernel=np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]]) / 2,
    output=np.array([[1, 1, 1, 0], [0, 1, -1, 1]]),
)
_THREE = _Filter(
    input=np.array([[2, -1, -2, 1, 0], [0, -2, -1, 1, 0], [0, 2, -3, 1, 0], [0, -1, 0, 1, 0], [0, 2, -1, -2, 1]]),
    kernel=np.array([[3, 0, 0], [-3, -3, -3], [-1, 1, -1], [1, 2, 4], [0, 0, 6]]) / 6,
    output=np.array([[1, 1, 1, 1, 0], [0, 1, -1, 2, 0], [0, 1, 1, 4, 1]]),
)
_FOUR = _Filter(
    input=np.array(
        [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ]
    ),
    kernel=np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24,
    output=np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]),
)
_ROWS, _COLUMNS = 1, 2  # axes of a map
_NARROW, _PART = 16, 1 << 18  # columns of a map; numbers per part of a batch
_BLOCK = 32  # rows of a matrix


def multiplications(height: int, width: int) -> int:
    """Returns the multiplications of a map per input and output channel; a plain convolution takes 9 per pixel."""
    return math.prod(map(_multiplications, _filters(height, width), (height, width)))


def _multiplications(f: _Filter, size: int) -> int:
    """Returns the number of multiplications along one direction."""
    return (f.tile + 2) * _tiled(f, size) // f.tile


def _filters(height: int, width: int) -> tuple[_Filter, _Filter]:
    """Returns the filters for the rows and the columns that need the fewest multiplications."""
    sizes = height, width
    return min((_TWO, _FOUR), (_THREE, _THREE), key=lambda filters: math.prod(map(_multiplications, filters, sizes)))


def convolve(x: Array, kernel: Array) -> Array:
    """Convolves x [batch, height, width, in] with kernel [3, 3, in, out], with stride 1 and padding 1."""
    rows, columns = _filters(*x.shape[1:3])
    return _filtered([(_COLUMNS, columns), (_ROWS, rows)], x, kernel)


def input_gradient(kernel: Array, g: Array) -> Array:
    """Returns the gradient of convolve for its input: the convolution of g with the flipped kernel."""
    return convolve(g, _turned(kernel))


def _turned(kernel: Array) -> Array:
    """Maps [3, 3, in, out] to [3, 3, out, in] with both spatial axes reversed."""
    # A few rows at a time stay in the cache. The loop keeps XLA from fusing the transposition into each of its uses,
    # where it is slow.
    inputs, outputs = kernel.shape[2:]
    taps, size = kernel.reshape(9, inputs, outputs), math.gcd(inputs, _BLOCK)

    def turn_rows(i: Array, turned: Array) -> Array:
        rows = lax.dynamic_slice_in_dim(taps, i * size, size, 1).swapaxes(1, 2)
        return lax.dynamic_update_slice_in_dim(turned, rows, i * size, 2)

    turned = lax.fori_loop(0, inputs // size, turn_rows, jnp.zeros((9, outputs, inputs), kernel.dtype))
    return turned[::-1].reshape(3, 3, outputs, inputs)


def kernel_gradient(x: Array, g: Array) -> Array:
    """Returns the gradient of convolve for its kernel, filtered along the rows only: two directions are no faster."""
    batch, _, width, _ = x.shape
    # Wide maps are processed in parts, so that the transformed ones stay in the cache.
    fits = max(1, _PART // x[0].size) if width > _NARROW else batch
    size = max(k for k in range(1, min(fits, batch) + 1) if batch % k == 0)
    if size == batch:
        return _kernel_gradient(x, g)
    parts = tuple(a.reshape(-1, size, *a.shape[1:]) for a in (x, g))
    zeros = jnp.zeros((3, 3, x.shape[3], g.shape[3]), x.dtype)
    return lax.scan(lambda total, part: (total + _kernel_gradient(*part), None), zeros, parts)[0]


def _kernel_gradient(x: Array, g: Array) -> Array:
    f = min(_FOUR, _THREE, key=lambda f: _multiplications(f, x.shape[2]))
    inputs, outputs = _tiles_of_input(f, x, _COLUMNS), _tiles_of_output(f, g)
    products = [_kernel_of_columns(a, b) for a, b in zip(inputs, outputs, strict=True)]
    return jnp.stack([combination(row, products) for row in f.kernel.T], axis=1)


def _kernel_of_columns(x: Array, g: Array) -> Array:
    """Returns [3, in, out], the gradient of a 3x1 convolution for its kernel, as one product for its three rows."""
    height, features = x.shape[1], x.shape[3]
    x = jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)))
    rows = jnp.concatenate([x[:, i : i + height] for i in range(3)], axis=-1)
    return lax.dot_general(rows, g, (((0, 1, 2), (0, 1, 2)), ((), ()))).reshape(3, features, g.shape[3])


def _filtered(filters: Sequence[tuple[int, _Filter]], x: Array, kernel: Array) -> Array:
    """Correlates x [batch, rows, columns, in] along some axes with kernel [3, ..., in, out], which has only these."""
    if not filters:
        return x @ kernel
    (axis, f), *others = filters
    kernels = [combination(row, [lax.index_in_dim(kernel, i, axis - 1, False) for i in range(3)]) for row in f.kernel]
    products = [_filtered(others, a, b) for a, b in zip(_tiles_of_input(f, x, axis), kernels, strict=True)]
    tiles = jnp.stack([combination(row, products) for row in f.output], axis + 1)
    joined = lax.collapse(tiles, axis, axis + 2)
    return lax.slice_in_dim(joined, 0, x.shape[axis], axis=axis)


def _tiled(f: _Filter, size: int) -> int:
    return f.tile * -(-size // f.tile)


def _tiles_of_input(f: _Filter, x: Array, axis: int) -> list[Array]:
    """Transforms overlapping tiles of m + 2 pixels along an axis to m + 2 arrays with one number per tile."""
    size = x.shape[axis]
    tiled = _tiled(f, size)
    x = lax.pad(x, jnp.zeros((), x.dtype), [(1, tiled + 1 - size, 0) if i == axis else (0, 0, 0) for i in range(4)])
    parts = [lax.slice_in_dim(x, i, i + tiled - f.tile + 1, f.tile, axis) for i in range(f.tile + 2)]
    return [combination(row, parts) for row in f.input]


def _tiles_of_output(f: _Filter, g: Array) -> list[Array]:
    """Transforms tiles of m columns to m + 2 arrays [batch, height, tiles, out]."""
    g = jnp.pad(g, ((0, 0), (0, 0), (0, -g.shape[2] % f.tile), (0, 0)))
    return [combination(row, [g[:, :, i :: f.tile] for i in range(f.tile)]) for row in f.output.T]


def combination(weights: np.ndarray, arrays: list[Array]) -> Array:
    """Returns the sum of weight * array, skipping weights of zero."""
    terms = [a if w == 1 else a * jnp.asarray(w, a.dtype) for w, a in zip(weights, arrays, strict=True) if w]
    return sum(terms[1:], terms[0])
