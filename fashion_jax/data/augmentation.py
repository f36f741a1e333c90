"""Augmentation inside the compiled step: batched, and a pure function of the key."""

import jax
import jax.numpy as jnp
from jax import Array

# The mean and the standard deviation of ImageNet's pixels, as torchvision's recipes use them.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

CROPPING = ("light",)  # presets that crop, and so want a canvas larger than the image
PRESETS = ("none", "flip", *CROPPING)

_CROP_SCALE = (0.5, 1.0)  # of the canvas's area
_CROP_LOG_RATIO = 0.2877  # log(4 / 3): aspect ratios from 3:4 to 4:3, relative to the canvas's


def prepare_train(images: Array, key: Array, preset: str, shape: tuple[int, int], dtype: jnp.dtype) -> Array:
    """Augments and normalises a batch.

    Args:
        images: uint8 canvases [batch, height, width, 3].
        key: of this step.
        preset: one of PRESETS.
        shape: (height, width) of the result.
        dtype: of the result.
    """
    crop_key, flip_key = jax.random.split(key)
    pixels = images.astype(jnp.promote_types(dtype, jnp.float32))
    pixels = random_resized_crop(pixels, crop_key, shape) if preset in CROPPING else shrink(pixels, shape)
    if preset != "none":
        flip = jax.random.bernoulli(flip_key, 0.5, (len(images), 1, 1, 1))
        pixels = jnp.where(flip, pixels[:, :, ::-1], pixels)
    return normalize(pixels, dtype)


def prepare_eval(images: Array, shape: tuple[int, int], dtype: jnp.dtype) -> Array:
    """Resizes uint8 canvases [batch, height, width, 3] to shape where they are larger, and normalises them."""
    return normalize(shrink(images.astype(jnp.promote_types(dtype, jnp.float32)), shape), dtype)


def normalize(pixels: Array, dtype: jnp.dtype) -> Array:
    """Pixels of 0 to 255 to zero mean and unit variance by ImageNet's statistics."""
    mean, std = (jnp.asarray(x, pixels.dtype) for x in (MEAN, STD))
    return ((pixels / 255 - mean) / std).astype(dtype)


def shrink(pixels: Array, shape: tuple[int, int]) -> Array:
    """The whole canvas, shrunk to shape with anti-aliasing where it is larger."""
    if pixels.shape[1:3] == shape:
        return pixels
    return jax.image.resize(pixels, (pixels.shape[0], *shape, pixels.shape[3]), "linear", antialias=True)


def random_resized_crop(pixels: Array, key: Array, shape: tuple[int, int]) -> Array:
    """Crops of random area, aspect ratio and place, resized to shape by two matrix products an image."""
    height, width = pixels.shape[1:3]
    area_key, ratio_key, place_key = jax.random.split(key, 3)
    count, dtype = len(pixels), pixels.dtype
    area = jax.random.uniform(area_key, (count,), dtype, *_CROP_SCALE)
    ratio = jnp.exp(jax.random.uniform(ratio_key, (count,), dtype, -_CROP_LOG_RATIO, _CROP_LOG_RATIO))
    crop = jnp.stack([jnp.sqrt(area / ratio) * height, jnp.sqrt(area * ratio) * width], axis=-1)
    crop = jnp.minimum(crop, jnp.asarray([height, width], dtype))
    offset = jax.random.uniform(place_key, (count, 2), dtype) * (jnp.asarray([height, width], dtype) - crop)
    scale = jnp.asarray(shape, dtype) / crop

    def resize(image: Array, scale: Array, offset: Array) -> Array:
        return jax.image.scale_and_translate(
            image, (*shape, image.shape[-1]), (0, 1), scale, -offset * scale, "linear", antialias=True
        )

    return jax.vmap(resize)(pixels, scale, offset)
