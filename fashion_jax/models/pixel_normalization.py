"""Normalises pixels, as the first operation of a trunk, by the statistics that its weights were trained with."""

import dataclasses

import jax.numpy as jnp
from jax import Array


@dataclasses.dataclass(frozen=True)
class Normalization:
    """Maps pixels to (pixels / 255 - mean) / std.

    Attributes:
        mean: of red, green and blue, from 0 to 1.
        std: of red, green and blue, above 0 and at most 1.
        dtype: the type of the result; the computation is at least in float32.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    dtype: str

    def __call__(self, pixels: Array) -> Array:
        """Normalises pixels from 0 to 255 of any type, [batch, height, width, 3]."""
        dtype = jnp.dtype(self.dtype)
        pixels = pixels.astype(jnp.promote_types(dtype, jnp.float32))
        mean, std = (jnp.asarray(x, pixels.dtype) for x in (self.mean, self.std))
        return ((pixels / 255 - mean) / std).astype(dtype)


def normalized_before(images: Array) -> Array:
    """Returns images that are normalised already."""
    return images
