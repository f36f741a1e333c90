"""Operations on pixel values, named as in torchvision.

Images are float [batch, height, width, 3] of 0 to 255, and so are the results. Factors, shifts, thresholds and bits
are [batch], one for each image.
"""

import jax
import jax.numpy as jnp
from jax import Array

from fashion_jax.data.augmentation.presets import Jitter

_GRAY = (0.2989, 0.587, 0.114)


def jitter(pixels: Array, key: Array, ranges: Jitter) -> Array:
    """Changes brightness, contrast, saturation and hue at random; always in this order, which torchvision draws."""
    factors = jax.random.uniform(key, (4, len(pixels)), pixels.dtype, -1, 1)
    pixels = brightness(pixels, 1 + ranges.brightness * factors[0])
    pixels = contrast(pixels, 1 + ranges.contrast * factors[1])
    pixels = saturation(pixels, 1 + ranges.saturation * factors[2])
    return hue(pixels, ranges.hue * factors[3])


def brightness(pixels: Array, factor: Array) -> Array:
    return _blend(jnp.zeros_like(pixels), pixels, factor)


def contrast(pixels: Array, factor: Array) -> Array:
    return _blend(_grayscale(pixels).mean(axis=(1, 2, 3), keepdims=True), pixels, factor)


def saturation(pixels: Array, factor: Array) -> Array:
    return _blend(_grayscale(pixels), pixels, factor)


def sharpness(pixels: Array, factor: Array) -> Array:
    """Blends each image with a smoothed one, whose border is left as it is."""
    rows = pixels[:, :-2] + pixels[:, 1:-1] + pixels[:, 2:]
    around = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    smooth = pixels.at[:, 1:-1, 1:-1].set((around + 4 * pixels[:, 1:-1, 1:-1]) / 13)
    return _blend(smooth, pixels, factor)


def hue(pixels: Array, shift: Array) -> Array:
    """Rotates the hue of HSV by a fraction of the full circle."""
    red, green, blue = jnp.moveaxis(pixels, -1, 0)
    value = jnp.max(pixels, axis=-1)
    chroma = value - jnp.min(pixels, axis=-1)
    per_chroma = 1 / jnp.where(chroma > 0, chroma, 1)
    sixths = jnp.where(
        value == red,
        (green - blue) * per_chroma,
        jnp.where(value == green, 2 + (blue - red) * per_chroma, 4 + (red - green) * per_chroma),
    )
    turned = sixths[..., None] + 6 * _per_image(shift) + jnp.asarray([5, 3, 1], pixels.dtype)
    ramp = jnp.mod(turned, 6)
    return value[..., None] - chroma[..., None] * jnp.clip(jnp.minimum(ramp, 4 - ramp), 0, 1)


def posterize(pixels: Array, bits: Array) -> Array:
    """Keeps the highest bits of each value."""
    step = _per_image(2.0 ** (8 - bits).astype(pixels.dtype))
    return jnp.floor(_whole(pixels) / step) * step


def solarize(pixels: Array, threshold: Array) -> Array:
    """Inverts the values that reach the threshold."""
    pixels = _whole(pixels)
    return jnp.where(pixels >= _per_image(threshold), 255 - pixels, pixels)


def autocontrast(pixels: Array) -> Array:
    """Stretches each channel of each image to 0 to 255; a channel with a single value stays as it is."""
    low, high = (f(pixels, axis=(1, 2), keepdims=True) for f in (jnp.min, jnp.max))
    flat = high == low
    return jnp.where(flat, pixels, (pixels - low) * (255 / jnp.where(flat, 1, high - low)))


def equalize(pixels: Array) -> Array:
    """Equalizes the histogram of 256 values of each channel of each image.

    Histogram and look-up are matrix products with the one-hot high and low half bytes of the values, which are fast on
    every platform; scattering and gathering single numbers is slow.
    """
    values = jnp.moveaxis(_whole(pixels), -1, 1).reshape(len(pixels), 3, -1).astype(jnp.int32)
    high, low = (jax.nn.one_hot(half, 16, dtype=pixels.dtype) for half in (values // 16, values % 16))
    counts = jnp.einsum("bcph,bcpl->bchl", high, low, precision="highest").reshape(len(pixels), 3, 256)
    last = jnp.take_along_axis(counts, values.max(axis=-1, keepdims=True), axis=-1)
    step = jnp.floor((counts.sum(axis=-1, keepdims=True) - last) / 255)
    before = jnp.cumsum(counts, axis=-1) - counts
    table = jnp.clip(jnp.floor((before + jnp.floor(step / 2)) / jnp.maximum(step, 1)), 0, 255)
    table = jnp.where(step > 0, table, jnp.arange(256, dtype=pixels.dtype)).reshape(len(pixels), 3, 16, 16)
    found = (jnp.einsum("bcph,bchl->bcpl", high, table, precision="highest") * low).sum(axis=-1)
    return jnp.moveaxis(found, 1, -1).reshape(pixels.shape)


def _blend(other: Array, pixels: Array, factor: Array) -> Array:
    """Interpolates, or extrapolates, from `other` (factor 0) to the image (factor 1)."""
    return jnp.clip(other + _per_image(factor) * (pixels - other), 0, 255)


def _grayscale(pixels: Array) -> Array:
    return (pixels * jnp.asarray(_GRAY, pixels.dtype)).sum(axis=-1, keepdims=True)


def _whole(pixels: Array) -> Array:
    """Rounds and clips pixels, so that steps between values do not depend on the last bit of a resampled 128."""
    return jnp.round(jnp.clip(pixels, 0, 255))


def _per_image(values: Array) -> Array:
    return values[:, None, None, None]
