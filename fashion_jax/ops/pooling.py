"""Pooling, exact, lowered well on every platform. Layouts are NHWC."""

import itertools

import jax
import jax.numpy as jnp
from jax import Array, lax


@jax.custom_vjp
def max_pool3x3(x: Array) -> Array:
    """Maximum over 3x3 windows with stride 2 and padding 1, as a ResNet's stem has it.

    Its gradient goes to the first of equal values in a window, as with lax.reduce_window's; XLA's CPU backend
    scatters that one value at a time, which here is a gather for each parity of row and column.

    Args:
        x: [batch, height, width, channels], of a floating type.

    Returns:
        [batch, ceil(height / 2), ceil(width / 2), channels].
    """
    return _max_pool(x)


def _max_pool(x: Array) -> Array:
    padding = ((0, 0), (1, 1), (1, 1), (0, 0))
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), padding)


def _forward(x: Array) -> tuple[Array, Array]:
    return _max_pool(x), x


def _backward(x: Array, g: Array) -> tuple[Array]:
    return (lax.platform_dependent(x, g, cpu=_gather_gradient, default=_plain_gradient),)


max_pool3x3.defvjp(_forward, _backward)


def _plain_gradient(x: Array, g: Array) -> Array:
    return jax.vjp(_max_pool, x)[1](g)[0]


def _gather_gradient(x: Array, g: Array) -> Array:
    height, width = x.shape[1:3]
    rows, columns = g.shape[1:3]
    winner = jnp.pad(_winner(x, rows, columns), ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=9)
    g = jnp.pad(g, ((0, 0), (0, 1), (0, 1), (0, 0)))

    def received(windows: list[tuple[int, int, int, int]]) -> Array:
        """What the pixels of a parity get from windows (row offset, row in it, column offset, column in it)."""
        total = jnp.zeros_like(g[:, :rows, :columns])
        for i, tap_row, j, tap_column in windows:
            place = (slice(None), slice(i, i + rows), slice(j, j + columns))
            total += jnp.where(winner[place] == 3 * tap_row + tap_column, g[place], 0)
        return total

    # Of (offset to the window, place in it): pixels of even index lie in one window, the others in two.
    covers = (((0, 1),), ((0, 2), (1, 0)))
    phases = [
        [received([(*a, *b) for a, b in itertools.product(covers[row], covers[column])]) for column in (0, 1)]
        for row in (0, 1)
    ]
    interleaved = jnp.stack([jnp.stack(phase, axis=3) for phase in phases], axis=2)
    return interleaved.reshape(len(x), 2 * rows, 2 * columns, -1)[:, :height, :width]


def _winner(x: Array, rows: int, columns: int) -> Array:
    """The first place (0 to 8, row by row) of the largest value of each window, uint8."""
    padded = jnp.pad(x, ((0, 0), (1, 2), (1, 2), (0, 0)), constant_values=-jnp.inf)
    best = winner = None
    for place, (i, j) in enumerate(itertools.product(range(3), range(3))):
        tap = padded[:, i : i + 2 * rows : 2, j : j + 2 * columns : 2]
        if best is None:
            best, winner = tap, jnp.zeros(tap.shape, jnp.uint8)
            continue
        winner = jnp.where(tap > best, jnp.uint8(place), winner)
        best = jnp.maximum(best, tap)
    return winner
