"""3x3 convolutions with padding 1 on tiny maps, as one matrix product over all positions of the kernel."""

import itertools
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax


class _Tap(NamedTuple):
    """A position of the kernel, and the rows and columns of the map that it reads and writes."""

    place: tuple[int, int]
    seen: tuple[slice, slice]
    written: tuple[slice, slice]


def convolve(x: Array, kernel: Array, stride: int) -> Array:
    """Convolves x [batch, height, width, in] with kernel [3, 3, in, out]."""
    return _patches(x, stride) @ kernel.reshape(-1, kernel.shape[3])


def input_gradient(x: Array, kernel: Array, g: Array, stride: int) -> Array:
    """Returns the gradient of convolve for x, from the gradient g of its result.

    The map is transposed, features first, instead of the kernel, which is larger.
    """
    product = kernel.reshape(-1, kernel.shape[3]) @ g.reshape(-1, g.shape[3]).T
    product = product.reshape(*kernel.shape[:3], *g.shape[:3])
    parts = [
        _placed(product[tap.place][:, :, *tap.written], tap.seen, x.shape[1:3])
        for tap in _taps(x.shape[1], x.shape[2], stride)
    ]
    return sum(parts[1:], parts[0]).reshape(x.shape[3], -1).T.reshape(x.shape)


def kernel_gradient(x: Array, g: Array, stride: int) -> Array:
    """Returns the gradient of convolve for the kernel."""
    return jnp.tensordot(_patches(x, stride), g, ((0, 1, 2), (0, 1, 2))).reshape(3, 3, x.shape[3], g.shape[3])


def _patches(x: Array, stride: int) -> Array:
    """Returns [batch, height, width, 9 * channels]: the 3x3 pixels under the kernel at each pixel, row by row."""
    height, width = (-(-size // stride) for size in x.shape[1:3])
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    taps = [
        padded[:, i : i + stride * (height - 1) + 1 : stride, j : j + stride * (width - 1) + 1 : stride]
        for i, j in itertools.product(range(3), range(3))
    ]
    return jnp.concatenate(taps, axis=-1)


def _taps(height: int, width: int, stride: int) -> list[_Tap]:
    """Returns the positions of the kernel that see any pixel."""
    rows, columns = (
        [(place, span) for place in range(3) if (span := _span(size, place, stride))] for size in (height, width)
    )
    return [
        _Tap((i, j), seen=(row[0], column[0]), written=(row[1], column[1]))
        for (i, row), (j, column) in itertools.product(rows, columns)
    ]


def _span(size: int, place: int, stride: int) -> tuple[slice, slice] | None:
    """Returns what a position of the kernel reads and writes along an axis; None if it sees only padding."""
    written = [k for k in range(-(-size // stride)) if 0 <= stride * k + place - 1 < size]
    if not written:
        return None
    first, last = (stride * k + place - 1 for k in (written[0], written[-1]))
    return slice(first, last + 1, stride), slice(written[0], written[-1] + 1, 1)


def _placed(part: Array, places: tuple[slice, slice], sizes: tuple[int, ...]) -> Array:
    """Places part [features, batch, rows, columns] at `places` of zero maps of the given sizes."""
    padding = [(place.start, size - place.stop, place.step - 1) for place, size in zip(places, sizes, strict=True)]
    return lax.pad(part, jnp.zeros((), part.dtype), [(0, 0, 0), (0, 0, 0), *padding])
