"""Draws training images in several random draws of the augmentation."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fashion_jax.data.dataset import Split

DRAWS = 8

_IMAGES = 8

_GAP = 2  # pixels between the images of a grid


@dataclasses.dataclass(frozen=True)
class Augmented:
    """Some images of a split, each as it is decoded and then in DRAWS random draws.

    Attributes:
        rows: the images, as indices into the split.
        pixels: uint8 [rows, 1 + DRAWS, height, width, 3].
    """

    rows: list[int]
    pixels: np.ndarray

    def grid(self) -> np.ndarray:
        """Returns all of them as one image, uint8 [height, width, 3], with a row for each image of the split."""
        spaced = np.pad(self.pixels, ((0, 0), (0, 0), (0, _GAP), (0, _GAP), (0, 0)), constant_values=255)
        images, draws, height, width, channels = spaced.shape
        return spaced.swapaxes(1, 2).reshape(images * height, draws * width, channels)


def augmented_images(
    split: Split, finest: str, preset: str, seed: int, shape: tuple[int, int], canvas: tuple[int, int], resize: str
) -> Augmented | None:
    """Draws images of different classes of the finest level; leaves out those that cannot be decoded, None if all.

    Args:
        split: the images.
        finest: name of the finest level.
        preset: config.augment.
        seed: of the draws.
        shape: (height, width) of the images that the network gets.
        canvas: (height, width) of the decoded images.
        resize: config.data.resize.
    """
    from fashion_jax.data.batches.chosen_images import decode_rows

    labels = split.labels[finest]
    chosen = np.linspace(0, labels.max(), _IMAGES).round().astype(int).tolist()
    places = [np.flatnonzero(labels == k)[chosen[:i].count(k) :][:1] for i, k in enumerate(chosen)]
    rows = [int(place[0]) for place in places if len(place)]
    indices, canvases = decode_rows(split, rows, canvas, resize)
    if not len(indices):
        return None
    return Augmented([rows[i] for i in indices], _drawn(canvases, preset, seed, shape))


def _drawn(canvases: np.ndarray, preset: str, seed: int, shape: tuple[int, int]) -> np.ndarray:
    """Returns the pixels of `Augmented` for some canvases, uint8 [n, height, width, 3]."""
    import jax
    import jax.numpy as jnp

    from fashion_jax.data.augmentation import prepare_eval, prepare_train

    @jax.jit
    def show(images: jax.Array) -> jax.Array:
        keys = [jax.random.fold_in(jax.random.key(seed), draw) for draw in range(DRAWS)]
        draws = [prepare_train(images, key, preset, shape, jnp.float32)[0] for key in keys]
        pixels = jnp.stack([prepare_eval(images, shape, jnp.float32), *draws], axis=1)
        return jnp.round(jnp.clip(pixels, 0, 255)).astype(jnp.uint8)

    return np.asarray(show(canvases))
