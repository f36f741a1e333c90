"""Mixup and CutMix: two images in one picture, with the labels of both at every level.

Images are mixed in pairs of neighbours, 0 with 1, 2 with 3: the batch is shuffled already, and a device with an even
number of images has both images of a pair.
"""

import jax
import jax.numpy as jnp
from jax import Array

from fashion_jax.data.augmentation.erasing import inside
from fashion_jax.taxonomy import UNKNOWN

_MIXUP_ALPHA = 0.2  # parameters of the Beta distributions, as in torchvision's recipe
_CUTMIX_ALPHA = 1.0


def swap_pairs(x: Array) -> Array:
    """Swaps each two neighbours in x [batch, ...]; the last image stays in place if it has no neighbour."""
    even = jnp.pad(x, [(0, len(x) % 2), *[(0, 0)] * (x.ndim - 1)], mode="edge")
    return even.reshape(-1, 2, *x.shape[1:])[:, ::-1].reshape(even.shape)[: len(x)]


def random_mix(pixels: Array, key: Array, share: float) -> tuple[Array, Array]:
    """Mixes about that share of the images with the other image of their pair, half by mixup and half by CutMix.

    Returns:
        The images, and the share [batch] of each that is its own, which differs from image to image.
    """
    choice_key, method_key, mixup_key, cutmix_key = jax.random.split(key, 4)
    count, dtype = len(pixels), pixels.dtype
    mixed = jax.random.bernoulli(choice_key, share, (count,))
    by_cutmix = mixed & jax.random.bernoulli(method_key, 0.5, (count,))
    others = swap_pairs(pixels)
    own = jax.random.beta(mixup_key, _MIXUP_ALPHA, _MIXUP_ALPHA, (count,), dtype)
    own = jnp.where(mixed & ~by_cutmix, own, 1)
    cut = _random_cut(cutmix_key, count, pixels.shape[1:3], dtype) & by_cutmix[:, None, None]
    weights = jnp.where(cut, 0, own[:, None, None])[..., None]
    own_share = jnp.where(by_cutmix, 1 - cut.mean(axis=(1, 2), dtype=dtype), own)
    return weights * pixels + (1 - weights) * others, own_share


def _random_cut(key: Array, count: int, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    """Returns bool [count, height, width]: the rectangle from the other image, which may extend beyond the edge."""
    share_key, place_key = jax.random.split(key)
    share = jax.random.beta(share_key, _CUTMIX_ALPHA, _CUTMIX_ALPHA, (count, 1), dtype)
    size = jnp.asarray(shape, dtype)
    half = jnp.sqrt(1 - share) * size / 2
    centre = jax.random.uniform(place_key, (count, 2), dtype) * size
    return inside(shape, centre - half, centre + half)


def soft_targets(labels: Array, share: Array, num_classes: int) -> Array:
    """Returns the share of each class in each picture, [batch, classes].

    The share of an image whose label is unknown goes to no class.

    Args:
        labels: int [batch], UNKNOWN (-1) if not known.
        share: [batch], the share of the image itself; the rest belongs to the other image of its pair.
        num_classes: number of classes of the level.
    """
    own = jax.nn.one_hot(jnp.where(labels == UNKNOWN, num_classes, labels), num_classes, dtype=share.dtype)
    return share[:, None] * own + (1 - share[:, None]) * swap_pairs(own)


def dominant_labels(labels: Array, share: Array) -> Array:
    """Returns the label [batch] of the image with the larger share in each picture."""
    return jnp.where(share >= 0.5, labels, swap_pairs(labels))
