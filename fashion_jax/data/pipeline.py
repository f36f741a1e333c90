"""Batches of decoded images: tf.data reads, decodes and resizes to a fixed canvas."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from ml_collections import ConfigDict

from fashion_jax.data.augmentation import CROPPING
from fashion_jax.data.dataset import Split
from fashion_jax.data.decoding import decode, obstacle, reason
from fashion_jax.data.draws import draw_chances
from fashion_jax.data.file_check import first_unusable
from fashion_jax.data.order import MAX_PERMUTED, ShuffledIndices
from fashion_jax.data.record_images import RecordImages, RecordNames
from fashion_jax.data.tf_import import import_tensorflow
from fashion_jax.errors import UserError

_AUTO_CACHE_BYTES = 2 << 30
_CANVAS_MARGIN = 1.25

Share = tuple[int, int]  # process_index, process_count
IndexBatches = Callable[[], Iterator[np.ndarray]]


class Images(Protocol):
    """The decoded images of a split."""

    def batches(self, indices: IndexBatches) -> Iterator[np.ndarray]:
        """For each array of indices, uint8 [len(indices), height, width, 3]; all of the same length."""


def train_batches(
    split: Split, images: Images, config: ConfigDict, start_step: int, num_steps: int, share: Share = (0, 1)
) -> Iterator[dict[str, Any]]:
    """The batches of the steps start_step to num_steps, of which this process reads its share.

    The order is a function of (seed, epoch), so any start_step continues the same sequence.
    """
    steps_per_epoch = len(split) // config.batch_size
    chances = draw_chances(config, split)

    def indices() -> Iterator[np.ndarray]:
        epoch, order = -1, np.empty(0, int)
        for step in range(start_step, num_steps):
            if step // steps_per_epoch != epoch:
                epoch = step // steps_per_epoch
                order = epoch_order(config.seed, epoch, len(split), chances)
            start = step % steps_per_epoch * config.batch_size
            yield _share_of(order[start : start + config.batch_size], share)

    return _labelled(split, images, indices)


def eval_batches(split: Split, images: Images, batch_size: int, share: Share = (0, 1)) -> Iterator[dict[str, Any]]:
    """Every image once, in order; the last batch is filled up with the first image, to be cut off again."""

    def indices() -> Iterator[np.ndarray]:
        for start in range(0, len(split), batch_size):
            batch = np.arange(start, start + batch_size)
            yield _share_of(np.where(batch < len(split), batch, 0), share)

    return _labelled(split, images, indices)


def epoch_order(seed: int, epoch: int, count: int, chances: np.ndarray | None = None) -> np.ndarray | ShuffledIndices:
    """The images of an epoch in order, to be sliced: a pure function of (seed, epoch).

    A permutation (of very many images one that is never held whole); or, where each image has its chance, so many
    independent draws with replacement.
    """
    if chances is None and count > MAX_PERMUTED:
        return ShuffledIndices(seed, epoch, count)
    rng = np.random.default_rng([seed, epoch])
    return rng.permutation(count) if chances is None else rng.choice(count, count, p=chances)


def open_images(split: Split, config: ConfigDict, shape: tuple[int, int]) -> Images:
    """The images of a split, streamed or in memory as data.cache says, on canvases for images of `shape`."""
    canvas = canvas_shape(config, shape)
    open_ = RecordImages if isinstance(split.files, RecordNames) else StreamedImages
    streamed = open_(split.files, canvas, config.data.resize)
    size = len(split) * canvas[0] * canvas[1] * 3
    if config.data.cache == "none" or (config.data.cache == "auto" and size > _AUTO_CACHE_BYTES):
        return streamed
    return CachedImages(streamed, len(split), canvas)


def canvas_shape(config: ConfigDict, shape: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of what is decoded to: data.canvas_size, or what the augmentation wants."""
    canvas = config.data.canvas_size
    if canvas:
        return (canvas, canvas) if isinstance(canvas, int) else tuple(canvas)
    margin = _CANVAS_MARGIN if config.augment in CROPPING else 1
    return tuple(round(size * margin) for size in shape)


def decode_files(
    files: Sequence[str], config: ConfigDict, shape: tuple[int, int], batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray, dict[int, str]]]:
    """Decodes files that may be anything, in parallel and in order, as training and validation do.

    Args:
        files: paths.
        config: of the run.
        shape: (height, width) of what the network sees.
        batch_size: how many images at a time.

    Yields:
        The indices [n] of the next files that could be decoded, their canvases (uint8 [batch_size, height, width, 3],
        filled up with zeros), and why others could not (index -> words). Each file is in one of them; the last
        batch may have none.
    """
    tf = import_tensorflow()
    canvas = canvas_shape(config, shape)
    names = tf.constant([os.fsencode(os.path.join(os.getcwd(), file)) for file in files], tf.string)
    harmless = np.array([i for i, file in enumerate(files) if not obstacle(file)], np.int64)
    dataset = tf.data.Dataset.from_tensor_slices(harmless).map(
        lambda i: (i, decode(tf, names[i], canvas, config.data.resize)), tf.data.AUTOTUNE, deterministic=True
    )
    dataset = dataset.ignore_errors().batch(batch_size).prefetch(2)  # what is ignored is missing, and so found below
    start = 0
    for indices, pixels in dataset.as_numpy_iterator():
        end = indices[-1] + 1
        missing = sorted(set(range(start, end)) - set(indices.tolist()))
        filled = np.pad(pixels, [(0, batch_size - len(pixels)), (0, 0), (0, 0), (0, 0)])
        yield indices, filled, {i: reason(files[i]) for i in missing}
        start = end
    none = np.empty(0, np.int64), np.zeros((batch_size, *canvas, 3), np.uint8)
    yield *none, {i: reason(files[i]) for i in range(start, len(files))}


class StreamedImages:
    """Reads and decodes again whenever an image is asked for."""

    def __init__(self, files: list[str], canvas: tuple[int, int], resize: str):
        self._files, self._canvas, self._resize = files, canvas, resize

    def batches(self, indices: IndexBatches) -> Iterator[np.ndarray]:
        tf = import_tensorflow()
        files = tf.constant([os.fsencode(file) for file in self._files], tf.string)
        batch_size = len(next(indices(), ()))
        dataset = tf.data.Dataset.from_generator(indices, output_signature=tf.TensorSpec([None], tf.int64))
        dataset = dataset.unbatch().map(
            lambda i: decode(tf, files[i], self._canvas, self._resize), tf.data.AUTOTUNE, deterministic=True
        )
        dataset = dataset.batch(max(batch_size, 1), drop_remainder=True).prefetch(2)
        try:
            yield from dataset.as_numpy_iterator()
        except tf.errors.OpError as error:
            raise self._undecodable(error) from error

    def _undecodable(self, error: Exception) -> Exception:
        """Names the first file that cannot be used; tf.data's own error does not."""
        found = first_unusable(self._files)
        if found is None:
            return error
        file, why = found
        return UserError(
            f"The image {file!r} cannot be read and decoded ({why}): repair it, or take it out of the data."
        )


class CachedImages:
    """Decodes everything once, to memory."""

    def __init__(self, images: StreamedImages, count: int, canvas: tuple[int, int]):
        chunk = min(count, 256)

        def indices() -> Iterator[np.ndarray]:
            for start in range(0, count, chunk):
                yield np.minimum(np.arange(start, start + chunk), count - 1)

        self._pixels = np.empty((count, *canvas, 3), np.uint8)
        for i, batch in enumerate(images.batches(indices)):
            end = min((i + 1) * chunk, count)
            self._pixels[i * chunk : end] = batch[: end - i * chunk]

    def batches(self, indices: IndexBatches) -> Iterator[np.ndarray]:
        for batch in indices():
            yield self._pixels[batch]


def _share_of(batch: np.ndarray, share: Share) -> np.ndarray:
    """The consecutive part of a global batch that a process reads."""
    index, count = share
    return np.split(batch, count)[index]


def _labelled(split: Split, images: Images, indices: IndexBatches) -> Iterator[dict[str, Any]]:
    for batch, pixels in zip(indices(), images.batches(indices), strict=True):
        yield {"image": pixels, "labels": {level: labels[batch] for level, labels in split.labels.items()}}
