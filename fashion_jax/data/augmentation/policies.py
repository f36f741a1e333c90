"""RandAugment and TrivialAugment on slices of the batch: no operation is computed for images that do not get it.

A batch is shuffled already, so it is enough that its k-th slice gets the k-th operation, in an order drawn at each
step. Slices are strided: image i is in slice i mod 16. So each device that holds a multiple of 16 images finds all
slices in its own part of the batch and sends nothing to the others.
"""

import jax
import jax.numpy as jnp
from jax import Array

from fashion_jax.data.augmentation import color
from fashion_jax.data.augmentation.geometry import affine
from fashion_jax.data.augmentation.presets import Policy

# The 14 operations: 5 moving (shear x, shear y, translate x, translate y, rotate), 8 of color, and identity, which has
# three slots, because 16 goes evenly into batches.
SLOTS = 16
_MOVING = 5
_STRENGTHS = 31


def apply_policy(pixels: Array, key: Array, policy: Policy) -> Array:
    """Applies operations, drawn for each image, to float [batch, height, width, 3] with values from 0 to 255."""
    for round_key in jax.random.split(key, policy.rounds):
        pixels = _one_operation_each(pixels, round_key, policy)
    return pixels


def _one_operation_each(pixels: Array, key: Array, policy: Policy) -> Array:
    order_key, strength_key, sign_key = jax.random.split(key, 3)
    count, dtype = len(pixels), pixels.dtype
    groups = -(-count // SLOTS)
    order = jax.random.permutation(order_key, SLOTS)
    strength = jax.random.randint(strength_key, (groups, SLOTS), 0, _STRENGTHS).astype(dtype) / (_STRENGTHS - 1)
    if policy.strength is not None:
        strength = jnp.full_like(strength, policy.strength)
    signed = strength * jnp.where(jax.random.bernoulli(sign_key, 0.5, (groups, SLOTS)), 1, -1).astype(dtype)
    padded = jnp.pad(pixels, ((0, groups * SLOTS - count), (0, 0), (0, 0), (0, 0)))
    slots = padded.reshape(groups, SLOTS, *pixels.shape[1:])[:, order]
    changed = [_move(slots[:, :_MOVING], signed[:, :_MOVING], policy)]
    for k, operation in enumerate(_COLOR_OPERATIONS, _MOVING):
        changed.append(operation(slots[:, k], strength[:, k], signed[:, k], policy)[:, None])
    changed.append(slots[:, _MOVING + len(_COLOR_OPERATIONS) :])
    together = jnp.concatenate(changed, axis=1)[:, jnp.argsort(order)]
    return together.reshape(padded.shape)[:count]


def _move(slots: Array, signed: Array, policy: Policy) -> Array:
    """Applies the k-th moving operation to slots[:, k], of [groups, 5, height, width, 3]."""
    height, width = slots.shape[2:4]
    amounts = (signed[:, :, None] * jnp.eye(_MOVING, dtype=signed.dtype)).reshape(-1, _MOVING)
    shear_x, shear_y, move_x, move_y, turn = jnp.moveaxis(amounts, -1, 0)
    moved = affine(
        slots.reshape(-1, *slots.shape[2:]),
        angle=policy.rotate * turn,
        shear=policy.shear * jnp.stack([shear_y, shear_x], axis=-1),
        move=policy.translate * jnp.stack([height * move_y, width * move_x], axis=-1),
    )
    return moved.reshape(slots.shape)


# Each takes (pixels, strength from 0 to 1, the strength with a random sign, policy).
_COLOR_OPERATIONS = (
    lambda pixels, _, signed, policy: color.brightness(pixels, 1 + policy.enhance * signed),
    lambda pixels, _, signed, policy: color.saturation(pixels, 1 + policy.enhance * signed),
    lambda pixels, _, signed, policy: color.contrast(pixels, 1 + policy.enhance * signed),
    lambda pixels, _, signed, policy: color.sharpness(pixels, 1 + policy.enhance * signed),
    lambda pixels, strength, _, policy: color.posterize(pixels, 8 - jnp.round(policy.posterize * strength)),
    lambda pixels, strength, _signed, _policy: color.solarize(pixels, 255 * (1 - strength)),
    lambda pixels, *_: color.autocontrast(pixels),
    lambda pixels, *_: color.equalize(pixels),
)
