"""Augmentation inside the compiled step: batched, and a pure function of the random key."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from fashion_jax.data.augmentation.color import jitter
from fashion_jax.data.augmentation.erasing import random_erasing
from fashion_jax.data.augmentation.geometry import random_affine, random_resized_crop, shrink
from fashion_jax.data.augmentation.mixing import random_mix
from fashion_jax.data.augmentation.policies import apply_policy
from fashion_jax.data.augmentation.presets import CROPPING, PRESETS

__all__ = ["CROPPING", "PRESETS", "prepare_eval", "prepare_train"]


def prepare_train(
    images: Array, key: Array, preset: str, shape: tuple[int, int], dtype: DTypeLike
) -> tuple[Array, Array]:
    """Augments a batch.

    Args:
        images: uint8 canvases [batch, height, width, 3].
        key: the random key of this step.
        preset: one of PRESETS.
        shape: (height, width) of the result.
        dtype: type of the network's computation.

    Returns:
        Pixels from 0 to 255, of dtype but at least float32, and the share [batch] of each image in its mixed picture;
        the rest belongs to the other image of its pair (see mixing.swap_pairs). The share has the type of the pixels,
        and is 1 if the preset mixes nothing.
    """
    chosen = PRESETS[preset]
    crop_key, flip_key, affine_key, jitter_key, policy_key, erase_key, mix_key = jax.random.split(key, 7)
    if chosen.flip:  # before the conversion to float: flipping bytes moves a quarter of the memory
        flip = jax.random.bernoulli(flip_key, 0.5, (len(images), 1, 1, 1))
        images = jnp.where(flip, images[:, :, ::-1], images)
    pixels = images.astype(jnp.promote_types(dtype, jnp.float32))
    pixels = random_resized_crop(pixels, crop_key, shape, chosen.crop) if chosen.crop else shrink(pixels, shape)
    if chosen.affine:
        pixels = random_affine(pixels, affine_key, chosen.affine)
    if chosen.jitter:
        pixels = jitter(pixels, jitter_key, chosen.jitter)
    if chosen.policy:
        pixels = apply_policy(pixels, policy_key, chosen.policy)
    if chosen.erase:
        pixels = random_erasing(pixels, erase_key, chosen.erase)
    share = jnp.ones(len(images), pixels.dtype)
    if chosen.mix:
        pixels, share = random_mix(pixels, mix_key, chosen.mix)
    return pixels, share


def prepare_eval(images: Array, shape: tuple[int, int], dtype: DTypeLike) -> Array:
    """Resizes uint8 canvases [batch, height, width, 3] to shape if they are larger; returns pixels as prepare_train."""
    return shrink(images.astype(jnp.promote_types(dtype, jnp.float32)), shape)
