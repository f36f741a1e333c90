"""3x3 convolutions by Winograd's minimal filtering along the rows: half the multiplications of the plain ones.

Four neighbouring outputs of a row need 6 products per input channel, output channel and kernel row, not 12: F(4, 3)
of Lavin and Gray 2015 (https://arxiv.org/abs/1509.09308) in one direction, which leaves six 3x1 convolutions. In one
direction the rounding stays at a few units of float32's last place; in two it would not, for little more speed.
"""

import math

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

TILE = 4
_NARROW, _PART = 16, 1 << 18  # columns of a map; numbers of some maps
_ROWS = 32  # of a kernel
# y = OUTPUT @ ((KERNEL @ k) * (INPUT @ x)) is the correlation of 6 numbers x with 3 numbers k.
_INPUT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
_KERNEL = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
_OUTPUT = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])


def convolve(x: Array, kernel: Array) -> Array:
    """3x3 convolution with stride 1 and padding 1 of x [batch, height, width, in], kernel [3, 3, in, out]."""
    products = [_convolve_columns(a, b) for a, b in zip(_tiles_of_input(x), _transformed_kernel(kernel), strict=True)]
    tiles = jnp.stack([combination(row, products) for row in _OUTPUT], axis=3)
    batch, height, count, _, features = tiles.shape
    return tiles.reshape(batch, height, TILE * count, features)[:, :, : x.shape[2]]


def input_gradient(kernel: Array, g: Array) -> Array:
    """The gradient of convolve for its input: the convolution of g with the kernel turned around."""
    return convolve(g, _turned(kernel))


def _turned(kernel: Array) -> Array:
    """[3, 3, in, out] to [3, 3, out, in], both spatial axes reversed."""
    # Some rows at a time, which stay in the cache. The loop keeps XLA from fusing the transposition into what follows,
    # once for each use, where it is slow.
    inputs, outputs = kernel.shape[2:]
    taps, size = kernel.reshape(9, inputs, outputs), math.gcd(inputs, _ROWS)

    def turn_rows(i: Array, turned: Array) -> Array:
        rows = lax.dynamic_slice_in_dim(taps, i * size, size, 1).swapaxes(1, 2)
        return lax.dynamic_update_slice_in_dim(turned, rows, i * size, 2)

    turned = lax.fori_loop(0, inputs // size, turn_rows, jnp.zeros((9, outputs, inputs), kernel.dtype))
    return turned[::-1].reshape(3, 3, outputs, inputs)


def kernel_gradient(x: Array, g: Array) -> Array:
    """The gradient of convolve for its kernel: the same products, with g transformed as outputs are."""
    batch, _, width, _ = x.shape
    # Wide maps go in parts, so that what is made of them stays in the cache.
    fits = max(1, _PART // x[0].size) if width > _NARROW else batch
    size = max(k for k in range(1, min(fits, batch) + 1) if batch % k == 0)
    if size == batch:
        return _kernel_gradient(x, g)
    parts = tuple(a.reshape(-1, size, *a.shape[1:]) for a in (x, g))
    zeros = jnp.zeros((3, 3, x.shape[3], g.shape[3]), x.dtype)
    return lax.scan(lambda total, part: (total + _kernel_gradient(*part), None), zeros, parts)[0]


def _kernel_gradient(x: Array, g: Array) -> Array:
    products = [_kernel_of_columns(a, b) for a, b in zip(_tiles_of_input(x), _tiles_of_output(g), strict=True)]
    return jnp.stack([combination(row, products) for row in _KERNEL.T], axis=1)


def _convolve_columns(x: Array, kernel: Array) -> Array:
    """3x1 convolution with padding (1, 0): x [batch, height, tiles, in], kernel [3, 1, in, out]."""
    return lax.conv_general_dilated(x, kernel, (1, 1), ((1, 1), (0, 0)), dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _kernel_of_columns(x: Array, g: Array) -> Array:
    """[3, in, out]: the gradient of _convolve_columns for its kernel, as one product for its three rows."""
    height, features = x.shape[1], x.shape[3]
    x = jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)))
    rows = jnp.concatenate([x[:, i : i + height] for i in range(3)], axis=-1)
    return lax.dot_general(rows, g, (((0, 1, 2), (0, 1, 2)), ((), ()))).reshape(3, features, g.shape[3])


def _tiles_of_input(x: Array) -> list[Array]:
    """Six arrays [batch, height, tiles, in] from overlapping tiles of 6 columns."""
    width = x.shape[2]
    tiled = TILE * -(-width // TILE)
    x = jnp.pad(x, ((0, 0), (0, 0), (1, tiled + 1 - width), (0, 0)))
    columns = [x[:, :, i : i + tiled - TILE + 1 : TILE] for i in range(6)]
    return [combination(row, columns) for row in _INPUT]


def _tiles_of_output(g: Array) -> list[Array]:
    """Six arrays [batch, height, tiles, out] from tiles of 4 columns."""
    g = jnp.pad(g, ((0, 0), (0, 0), (0, -g.shape[2] % TILE), (0, 0)))
    columns = [g[:, :, i::TILE] for i in range(TILE)]
    return [combination(row, columns) for row in _OUTPUT.T]


def _transformed_kernel(kernel: Array) -> list[Array]:
    """Six kernels [3, 1, in, out]."""
    columns = [kernel[:, i : i + 1] for i in range(3)]
    return [combination(row, columns) for row in _KERNEL]


def combination(weights: np.ndarray, arrays: list[Array]) -> Array:
    """The sum of weight * array, where the weight is not zero."""
    terms = [a if w == 1 else a * jnp.asarray(w, a.dtype) for w, a in zip(weights, arrays, strict=True) if w]
    return sum(terms[1:], terms[0])
