"""Crops and affine maps."""

import jax
import jax.numpy as jnp
from jax import Array

from fashion_jax.data.augmentation.presets import Affine

# The colour outside an image, also used for letterboxes and transparent images: product shots are on white, and a black
# triangle would be the strongest edge in them.
WHITE = 255

_CROP_LOG_RATIO = 0.2877  # log(4 / 3): aspect ratios from 3:4 to 4:3, relative to that of the canvas


def shrink(pixels: Array, shape: tuple[int, int]) -> Array:
    """Shrinks the whole canvas to shape, with anti-aliasing, if it is larger."""
    if pixels.shape[1:3] == shape:
        return pixels
    return jax.image.resize(pixels, (pixels.shape[0], *shape, pixels.shape[3]), "linear", antialias=True)


def random_resized_crop(pixels: Array, key: Array, shape: tuple[int, int], scale: tuple[float, float]) -> Array:
    """Crops rectangles of random area (`scale`, shares of the canvas), aspect ratio and position; resizes them to
    shape.
    """
    canvas = jnp.asarray(pixels.shape[1:3], pixels.dtype)
    area_key, ratio_key, place_key = jax.random.split(key, 3)
    count, dtype = len(pixels), pixels.dtype
    area = jax.random.uniform(area_key, (count,), dtype, *scale)
    ratio = jnp.exp(jax.random.uniform(ratio_key, (count,), dtype, -_CROP_LOG_RATIO, _CROP_LOG_RATIO))
    size = jnp.minimum(jnp.stack([jnp.sqrt(area / ratio), jnp.sqrt(area * ratio)], axis=-1) * canvas, canvas)
    start = jax.random.uniform(place_key, (count, 2), dtype) * (canvas - size)
    return crop(pixels, start, size, shape)


def crop(pixels: Array, start: Array, size: Array, shape: tuple[int, int]) -> Array:
    """Crops rectangles of images and resizes them with anti-aliasing, by two matrix products per image.

    Args:
        pixels: float [batch, height, width, channels].
        start: [batch, 2], top and left in pixels.
        size: [batch, 2], height and width in pixels.
        shape: (height, width) of the result.
    """
    rows = _resampling(pixels.shape[1], shape[0], start[:, 0], size[:, 0])
    columns = _resampling(pixels.shape[2], shape[1], start[:, 1], size[:, 1])
    narrow = jnp.einsum("bow,bhwc->bhoc", columns, pixels, precision="highest")
    return jnp.einsum("boh,bhwc->bowc", rows, narrow, precision="highest")


def _resampling(length: int, new_length: int, start: Array, size: Array) -> Array:
    """Returns resampling weights [batch, new_length, length] of an axis: triangles as wide as a new pixel."""
    step = (size / new_length)[:, None, None]
    centre = start[:, None, None] + (jnp.arange(new_length, dtype=size.dtype)[:, None] + 0.5) * step - 0.5
    distance = jnp.abs(centre - jnp.arange(length, dtype=size.dtype)) / jnp.maximum(step, 1)
    weights = jnp.maximum(1 - distance, 0)
    return weights / weights.sum(axis=-1, keepdims=True)


def random_affine(pixels: Array, key: Array, ranges: Affine) -> Array:
    """Rotates, shears, scales and moves each image a little."""
    count, dtype = len(pixels), pixels.dtype
    angle, shear, scale, *move = jax.random.uniform(key, (5, count), dtype, -1, 1)
    size = jnp.asarray(pixels.shape[1:3], dtype)
    return affine(
        pixels,
        angle=ranges.degrees * angle,
        shear=jnp.stack([jnp.zeros(count, dtype), ranges.shear * shear], axis=-1),
        move=ranges.translate * jnp.stack(move, axis=-1) * size,
        scale=1 + ranges.scale * scale,
    )


def affine(pixels: Array, angle: Array, shear: Array, move: Array, scale: Array | float = 1.0) -> Array:
    """Shears, rotates, scales and moves images about their centre, with bilinear sampling and white outside.

    Args:
        pixels: float [batch, height, width, channels].
        angle: [batch], degrees clockwise.
        shear: [batch, 2]: how much y grows per x, and x per y.
        move: [batch, 2]: pixels down and to the right.
        scale: [batch], or one for all images.
    """
    middle = (jnp.asarray(pixels.shape[1:3], pixels.dtype) - 1) / 2
    rows, columns = (jnp.arange(length, dtype=pixels.dtype) for length in pixels.shape[1:3])
    y = rows[:, None] - (middle[0] + move[:, 0])[:, None, None]
    x = columns - (middle[1] + move[:, 1])[:, None, None]
    cos, sin = ((f(jnp.deg2rad(angle)) / scale)[:, None, None] for f in (jnp.cos, jnp.sin))
    y, x = cos * y - sin * x, cos * x + sin * y
    y = y - shear[:, 0, None, None] * x
    x = x - shear[:, 1, None, None] * y
    return _sample(pixels, y + middle[0], x + middle[1])


def _sample(pixels: Array, y: Array, x: Array) -> Array:
    """Samples images bilinearly at positions between their pixels; returns [batch, rows, columns, channels]."""
    height, width = pixels.shape[1:3]
    framed = jnp.pad(pixels, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=WHITE)
    y, x = jnp.clip(y, -1, height) + 1, jnp.clip(x, -1, width) + 1
    top, left = jnp.floor(y), jnp.floor(x)
    down, right = (y - top)[..., None], (x - left)[..., None]
    top, left = top.astype(jnp.int32), left.astype(jnp.int32)
    at = jax.vmap(lambda image, rows, columns: image.at[rows, columns].get(mode="clip"))
    upper = at(framed, top, left) * (1 - right) + at(framed, top, left + 1) * right
    lower = at(framed, top + 1, left) * (1 - right) + at(framed, top + 1, left + 1) * right
    return upper * (1 - down) + lower * down
