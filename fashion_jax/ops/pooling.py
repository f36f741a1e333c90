"""Exact pooling that compiles to fast code on every platform. Layouts are NHWC.

The gradient goes to the first of equal values in a window, as with lax.reduce_window. XLA scatters that gradient,
on CPUs and GPUs one value at a time; there it is gathered instead.
"""

import itertools
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax


def max_pool3x3(x: Array) -> Array:
    """Takes the maximum over 3x3 windows with stride 2 and padding 1, as in the stem of a ResNet.

    Args:
        x: [batch, height, width, channels], of a floating type.

    Returns:
        [batch, ceil(height / 2), ceil(width / 2), channels].
    """
    return _pool(_OVERLAPPING, x)


def max_pool2x2(x: Array) -> Array:
    """Takes the maximum over 2x2 windows with stride 2, as in VGG; ignores a last odd row or column.

    Args:
        x: [batch, height, width, channels], of a floating type, at least 2x2.

    Returns:
        [batch, height // 2, width // 2, channels].
    """
    return _pool(_ADJACENT, x)


class _Windows(NamedTuple):
    """Windows with stride 2, and the gradient of their maximum, given x [batch, height, width, channels] and g."""

    size: int
    padding: int
    gradient: Callable[[Array, Array], Array]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _pool(windows: _Windows, x: Array) -> Array:
    return lax.platform_dependent(x, cpu=partial(_by_axes, windows), default=partial(_plain, windows))


def _plain(windows: _Windows, x: Array) -> Array:
    return _largest(windows, x, (1, 2))


def _by_axes(windows: _Windows, x: Array) -> Array:
    """Pools the columns first, then the rows: fewer comparisons, as neighbouring windows share those of the columns."""
    return _largest(windows, _largest(windows, x, (2,)), (1,))


def _largest(windows: _Windows, x: Array, axes: tuple[int, ...]) -> Array:
    size, stride, padding = [1] * x.ndim, [1] * x.ndim, [(0, 0)] * x.ndim
    for axis in axes:
        size[axis], stride[axis], padding[axis] = windows.size, 2, (windows.padding,) * 2
    return lax.reduce_window(x, -jnp.inf, lax.max, size, stride, padding)


def _forward(windows: _Windows, x: Array) -> tuple[Array, Array]:
    return _pool(windows, x), x


def _backward(windows: _Windows, x: Array, g: Array) -> tuple[Array]:
    def plain(x: Array, g: Array) -> Array:
        return jax.vjp(partial(_plain, windows), x)[1](g)[0]

    # GPUs scatter value by value too, which deterministic=true turns into a loop over the values.
    gathered = dict.fromkeys(("cpu", "cuda", "rocm"), windows.gradient)
    return (lax.platform_dependent(x, g, **gathered, default=plain),)


_pool.defvjp(_forward, _backward)


def _adjacent_gradient(x: Array, g: Array) -> Array:
    rows, columns = (2 * size for size in g.shape[1:3])
    taps = [x[:, i:rows:2, j:columns:2] for i, j in itertools.product(range(2), range(2))]
    largest = jnp.maximum(jnp.maximum(taps[0], taps[1]), jnp.maximum(taps[2], taps[3]))
    winner = jnp.full(g.shape, 3, jnp.uint8)
    for place in (2, 1, 0):
        winner = jnp.where(taps[place] == largest, jnp.uint8(place), winner)
    places = jnp.arange(4, dtype=jnp.uint8).reshape(2, 1, 2, 1)
    spread = jnp.where(winner[:, :, None, :, None] == places, g[:, :, None, :, None], 0)
    spread = spread.reshape(len(x), rows, columns, -1)
    return jnp.pad(spread, ((0, 0), (0, x.shape[1] - rows), (0, x.shape[2] - columns), (0, 0)))


def _overlapping_gradient(x: Array, g: Array) -> Array:
    height, width = x.shape[1:3]
    rows, columns = g.shape[1:3]
    winner = jnp.pad(_winner(x, rows, columns), ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=9)
    g = jnp.pad(g, ((0, 0), (0, 1), (0, 1), (0, 0)))

    def received(windows: list[tuple[int, int, int, int]]) -> Array:
        """Returns what the pixels of a parity get from windows (row offset, row in it, column offset, column in it)."""
        total = jnp.zeros_like(g[:, :rows, :columns])
        for i, tap_row, j, tap_column in windows:
            place = (slice(None), slice(i, i + rows), slice(j, j + columns))
            total += jnp.where(winner[place] == 3 * tap_row + tap_column, g[place], 0)
        return total

    # Pairs of (offset of the window, position in it): pixels of even index lie in one window, the others in two.
    covers = (((0, 1),), ((0, 2), (1, 0)))
    phases = [
        [received([(*a, *b) for a, b in itertools.product(covers[row], covers[column])]) for column in (0, 1)]
        for row in (0, 1)
    ]
    interleaved = jnp.stack([jnp.stack(phase, axis=3) for phase in phases], axis=2)
    return interleaved.reshape(len(x), 2 * rows, 2 * columns, -1)[:, :height, :width]


def _winner(x: Array, rows: int, columns: int) -> Array:
    """Returns the first position (0 to 8, row by row) of the largest value of each window, uint8."""
    padded = jnp.pad(x, ((0, 0), (1, 2), (1, 2), (0, 0)), constant_values=-jnp.inf)

    def tap(place: int) -> Array:
        i, j = divmod(place, 3)
        return padded[:, i : i + 2 * rows : 2, j : j + 2 * columns : 2]

    best = tap(0)
    winner = jnp.zeros(best.shape, jnp.uint8)
    for place in range(1, 9):
        values = tap(place)
        winner = jnp.where(values > best, jnp.uint8(place), winner)
        best = jnp.maximum(best, values)
    return winner


_OVERLAPPING = _Windows(3, 1, _overlapping_gradient)
_ADJACENT = _Windows(2, 0, _adjacent_gradient)
