"""Batches of decoded images on a fixed canvas, shuffled for training or in order for evaluation.

The libraries that decode are imported where files are opened, so that steps can be built without them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from fashion_jax.config.fields import shape_of
from fashion_jax.data.augmentation import CROPPING
from fashion_jax.data.batches.cache_mode import cache_mode
from fashion_jax.data.batches.draws import draw_chances
from fashion_jax.data.batches.image_stores import CachedImages, DeviceImages, Images, IndexBatches
from fashion_jax.data.batches.order import epoch_order

if TYPE_CHECKING:
    from fashion_jax.data.dataset import Split

_CANVAS_MARGIN = 1.25


def train_batches(
    split: Split, images: Images, config: ConfigDict, epoch: int = 0, seen: int = 0, rows: np.ndarray | None = None
) -> Iterator[dict[str, Any]]:
    """Yields the training batches from a position in the data to the end of the last epoch.

    The order is a pure function of (seed, epoch), so training resumes with exactly the batches that are left.

    Args:
        split: the training split.
        images: the decoded images of the split.
        config: gives the seed, the batch size, the number of epochs and the draw of rare classes.
        epoch: number of finished epochs.
        seen: number of images already used in the current epoch.
        rows: int [n], the rows of each batch that this process reads, see `local_rows`; None means all.
    """
    chances = draw_chances(config.rare_classes.draw, split)

    def indices() -> Iterator[np.ndarray]:
        first = seen
        for number in range(epoch, config.num_epochs):
            order = epoch_order(config.seed, number, len(split), chances)
            for start in range(first, len(split) - config.batch_size + 1, config.batch_size):
                yield _taken(order[start : start + config.batch_size], rows)
            first = 0

    return _labelled(split, images, indices)


def eval_batches(
    split: Split, images: Images, batch_size: int, rows: np.ndarray | None = None
) -> Iterator[dict[str, Any]]:
    """Yields every image once, in order; the last batch is padded with the first image.

    Args:
        split: any split.
        images: the decoded images of the split.
        batch_size: size of the global batches.
        rows: int [n], the rows of each batch that this process reads, see `local_rows`; None means all.
    """

    def indices() -> Iterator[np.ndarray]:
        for start in range(0, len(split), batch_size):
            batch = np.arange(start, start + batch_size)
            yield _taken(np.where(batch < len(split), batch, 0), rows)

    return _labelled(split, images, indices)


def open_images(
    split: Split,
    config: ConfigDict,
    shape: tuple[int, int],
    mesh: Mesh | None = None,
    decoded: Callable[[], None] = lambda: None,
) -> Images:
    """Opens the images of a split on canvases for images of `shape`, streamed or cached as data.cache says.

    Args:
        split: any split.
        config: gives the canvas, and where decoded images are kept.
        shape: (height, width) of the network's input.
        mesh: on whose devices decoded images may be kept; without one they are in host memory.
        decoded: called from time to time while all images are decoded before the first batch.

    Raises:
        UserError: the images do not fit into the memory that data.cache asks for; raised before any is decoded.
    """
    canvas = canvas_shape(config, shape)
    streamed = stream_images(split, canvas, config.data.resize)
    mode = cache_mode(config.data.cache, len(split) * canvas[0] * canvas[1] * 3, mesh)
    if mode == "none":
        return streamed
    if mode == "device" and mesh is not None:
        return DeviceImages(streamed, len(split), canvas, mesh, decoded)
    return CachedImages(streamed, len(split), canvas)


def stream_images(split: Split, canvas: tuple[int, int], resize: str) -> Images:
    """Opens the images of a split to decode them whenever they are asked for.

    Args:
        split: any split.
        canvas: (height, width) of the decoded images.
        resize: how they fit the canvas: the field data.resize.
    """
    from fashion_jax.data.batches.streamed_images import StreamedImages
    from fashion_jax.data.records.record_images import RecordImages, RecordNames

    if isinstance(split.files, RecordNames):
        return RecordImages(split.files, canvas, resize)
    return StreamedImages(split.files, canvas, resize)


def check_cache(splits: Iterable[Split], asked: str, canvas: tuple[int, int], mesh: Mesh) -> None:
    """Checks that the images of several splits fit together into the memory that data.cache asks for.

    Args:
        splits: that are opened one after the other, when nothing has been decoded yet.
        asked: the field data.cache.
        canvas: (height, width) of the decoded images.
        mesh: see open_images.

    Raises:
        UserError: they do not.
    """
    if asked != "auto":  # which takes a part of the memory for each split
        cache_mode(asked, sum(map(len, splits)) * canvas[0] * canvas[1] * 3, mesh)


def canvas_shape(config: ConfigDict, shape: tuple[int, int]) -> tuple[int, int]:
    """Returns (height, width) of the decoded images: data.canvas_size, or the size that the augmentation needs."""
    canvas = config.data.canvas_size
    if canvas:
        return shape_of(canvas)
    margin = _CANVAS_MARGIN if config.augment in CROPPING else 1
    return round(shape[0] * margin), round(shape[1] * margin)


def _taken(batch: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
    return batch if rows is None else batch[rows]


def _labelled(split: Split, images: Images, indices: IndexBatches) -> Iterator[dict[str, Any]]:
    for batch, pixels in zip(indices(), images.batches(indices), strict=True):
        yield {"image": pixels, "labels": {level: labels[batch] for level, labels in split.labels.items()}}
