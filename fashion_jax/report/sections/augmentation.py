"""Describes the page's section that shows augmented training images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fashion_jax.config.loading import image_shape
from fashion_jax.report.contents import PageContents, class_names
from fashion_jax.report.thumbnails import data_uri

if TYPE_CHECKING:
    from fashion_jax.data.dataset import Split

_IMAGES = 8

_DRAWS = 8


def augmentation(contents: PageContents) -> dict[str, Any] | None:
    """Shows training images of different classes, each as it is decoded and in several random draws of the preset."""
    if contents.train is None:
        return None
    finest = contents.taxonomy.levels[-1]
    names, labels = class_names(contents.taxonomy, finest), contents.train.labels[finest]
    chosen = np.linspace(0, len(names) - 1, _IMAGES).round().astype(int).tolist()
    places = [np.flatnonzero(labels == k)[chosen[:i].count(k) :][:1] for i, k in enumerate(chosen)]
    rows = [int(place[0]) for place in places if len(place)]
    readable, pictures = _pictures(contents, contents.train, rows)
    shown = [(names[labels[rows[i]]], contents.train.ids[rows[i]], pictures[i]) for i in readable]
    return {"preset": contents.config.augment, "rows": shown, "draws": _DRAWS}


def _pictures(contents: PageContents, split: Split, rows: list[int]) -> tuple[list[int], list[list[str]]]:
    """Returns the training images' rows that can be decoded, and the pictures of each row."""
    import jax
    import jax.numpy as jnp
    from PIL import Image

    from fashion_jax.data.augmentation import MEAN, STD, prepare_eval, prepare_train
    from fashion_jax.data.batches.pipeline import canvas_shape, decode_rows

    config = contents.config
    shape = image_shape(config)
    pictures: list[list[str]] = [[] for _ in rows]
    indices, canvases = decode_rows(split, rows, canvas_shape(config, shape), config.data.resize)
    if not len(indices):
        return [], pictures

    @jax.jit
    def show(images: jax.Array) -> jax.Array:
        keys = [jax.random.fold_in(jax.random.key(config.seed), draw) for draw in range(_DRAWS)]
        draws = [prepare_train(images, key, config.augment, shape, jnp.float32)[0] for key in keys]
        normalised = jnp.stack([prepare_eval(images, shape, jnp.float32), *draws], axis=1)
        pixels = 255 * (normalised * jnp.asarray(STD) + jnp.asarray(MEAN))
        return jnp.round(jnp.clip(pixels, 0, 255)).astype(jnp.uint8)

    shown = np.asarray(show(canvases))
    for place, index in enumerate(indices.tolist()):
        pictures[index] = [data_uri(Image.fromarray(pixels)) for pixels in shown[place]]
    return indices.tolist(), pictures
