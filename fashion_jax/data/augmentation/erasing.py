"""Random erasing: covers a rectangle of an image."""

import jax
import jax.numpy as jnp
from jax import Array

from fashion_jax.config.fields import MEAN

_AREA = (0.02, 0.33)  # of the image's area
_LOG_RATIO = 1.194  # log(3.3): height to width from 0.3 to 3.3


def random_erasing(pixels: Array, key: Array, share: float) -> Array:
    """Covers a rectangle of about a `share` of the images with the mean color of ImageNet."""
    choice_key, area_key, ratio_key, place_key = jax.random.split(key, 4)
    count, dtype = len(pixels), pixels.dtype
    height, width = pixels.shape[1:3]
    area = jax.random.uniform(area_key, (count,), dtype, *_AREA) * height * width
    ratio = jnp.exp(jax.random.uniform(ratio_key, (count,), dtype, -_LOG_RATIO, _LOG_RATIO))
    size = jnp.stack([jnp.sqrt(area * ratio), jnp.sqrt(area / ratio)], axis=-1)
    size = jnp.minimum(size, jnp.asarray([height, width], dtype))
    start = jax.random.uniform(place_key, (count, 2), dtype) * (jnp.asarray([height, width], dtype) - size)
    chosen = jax.random.bernoulli(choice_key, share, (count, 1, 1, 1))
    covered = chosen & inside((height, width), start, start + size)[..., None]
    return jnp.where(covered, 255 * jnp.asarray(MEAN, dtype), pixels)


def inside(shape: tuple[int, ...], start: Array, end: Array) -> Array:
    """Returns bool [batch, height, width]: the pixels with centres in rectangles from start to end, each [batch, 2]."""
    rows, columns = (jnp.arange(length) + 0.5 for length in shape)
    in_rows = (rows >= start[:, :1]) & (rows < end[:, :1])
    in_columns = (columns >= start[:, 1:]) & (columns < end[:, 1:])
    return in_rows[:, :, None] & in_columns[:, None, :]
