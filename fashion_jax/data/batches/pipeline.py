"""Batches of decoded images on a fixed canvas, shuffled for training or in order for evaluation.

The libraries that decode are imported where files are opened, so that steps can be built without them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from fashion_jax.data.augmentation import CROPPING
from fashion_jax.data.batches.cache_mode import cache_mode
from fashion_jax.data.batches.draws import draw_chances
from fashion_jax.data.batches.image_stores import CachedImages, DeviceImages, Images, IndexBatches
from fashion_jax.data.batches.order import MAX_PERMUTED, ShuffledIndices

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


def epoch_order(seed: int, epoch: int, count: int, chances: np.ndarray | None = None) -> np.ndarray | ShuffledIndices:
    """Returns the order of the images in an epoch, which can be sliced: a pure function of (seed, epoch).

    It is a permutation, or, if each image has a probability in `chances`, `count` independent draws with replacement.
    A permutation of more than MAX_PERMUTED images is never held in memory as a whole.
    """
    if chances is None and count > MAX_PERMUTED:
        return ShuffledIndices(seed, epoch, count)
    rng = np.random.default_rng([seed, epoch])
    return rng.permutation(count) if chances is None else rng.choice(count, count, p=chances)


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
    from fashion_jax.data.batches.streamed_images import StreamedImages
    from fashion_jax.data.records.record_images import RecordImages, RecordNames

    canvas = canvas_shape(config, shape)
    streamed: Images
    if isinstance(split.files, RecordNames):
        streamed = RecordImages(split.files, canvas, config.data.resize)
    else:
        streamed = StreamedImages(split.files, canvas, config.data.resize)
    mode = cache_mode(config.data.cache, len(split) * canvas[0] * canvas[1] * 3, mesh)
    if mode == "none":
        return streamed
    if mode == "device" and mesh is not None:
        return DeviceImages(streamed, len(split), canvas, mesh, decoded)
    return CachedImages(streamed, len(split), canvas)


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
        return (canvas, canvas) if isinstance(canvas, int) else tuple(canvas)
    margin = _CANVAS_MARGIN if config.augment in CROPPING else 1
    return round(shape[0] * margin), round(shape[1] * margin)


def decode_files(
    files: Sequence[str], canvas: tuple[int, int], resize: str, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray, dict[int, str]]]:
    """Decodes arbitrary files in parallel and in order, the same way as in training and validation.

    Args:
        files: paths.
        canvas: (height, width), see `canvas_shape`.
        resize: data.resize.
        batch_size: number of files per batch.

    Yields:
        The indices [n] of the next files that could be decoded, their canvases (uint8 [batch_size, height, width, 3],
        padded with zeros), and the reasons why the others could not (index -> words). Each file is in exactly one
        batch; the last batch may be empty.
    """
    from fashion_jax.data.decoding.decode import contents, decode, in_parallel
    from fashion_jax.data.decoding.limits import Undecodable

    def attempt(file: str) -> np.ndarray | str:
        try:
            with contents(file) as data:
                return decode(data, canvas, resize)
        except Undecodable as error:
            return str(error)

    def batch(start: int) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
        found = dict(enumerate(in_parallel(attempt, files[start : start + batch_size]), start))
        good = [i for i, pixels in found.items() if not isinstance(pixels, str)]
        filled = np.zeros((batch_size, *canvas, 3), np.uint8)
        for place, i in enumerate(good):
            filled[place] = found[i]
        return np.array(good, np.int64), filled, {i: why for i, why in found.items() if isinstance(why, str)}

    starts = range(0, max(len(files), 1), batch_size)
    with ThreadPoolExecutor(1) as ahead:  # decodes the next batch while the current one is used
        pending = ahead.submit(batch, 0)
        for start in starts[1:]:
            following = ahead.submit(batch, start)
            yield pending.result()
            pending = following
        yield pending.result()


def decode_rows(
    split: Split, rows: Sequence[int], canvas: tuple[int, int], resize: str
) -> tuple[np.ndarray, np.ndarray]:
    """Decodes some images of a split as the network gets them; see `decode_files` for canvas and resize.

    Returns:
        The positions in `rows` that could be decoded, int [n], and their canvases, uint8 [n, height, width, 3].
    """
    from fashion_jax.data.records.record_images import RecordImages, RecordNames

    files, wanted = split.files, np.asarray(rows, np.int64)
    if isinstance(files, RecordNames) and len(wanted):
        images = RecordImages(files, canvas, resize)
        return np.arange(len(wanted)), next(images.batches(lambda: iter([wanted])))
    indices, canvases, _ = next(decode_files([files[row] for row in rows], canvas, resize, max(len(rows), 1)))
    return indices, canvases[: len(indices)]


def _taken(batch: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
    return batch if rows is None else batch[rows]


def _labelled(split: Split, images: Images, indices: IndexBatches) -> Iterator[dict[str, Any]]:
    for batch, pixels in zip(indices(), images.batches(indices), strict=True):
        yield {"image": pixels, "labels": {level: labels[batch] for level, labels in split.labels.items()}}
