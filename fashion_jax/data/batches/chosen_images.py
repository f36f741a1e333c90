"""Decodes chosen images outside of training and evaluation, as the network gets them there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from fashion_jax.data.decoding.decode import ahead, decode_file, in_parallel
from fashion_jax.data.decoding.limits import Undecodable

if TYPE_CHECKING:
    from fashion_jax.data.dataset import Split

Item = TypeVar("Item")


def decoded_batch(
    decoded: Callable[[Item], np.ndarray], items: Sequence[Item], canvas: tuple[int, int], size: int | None = None
) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """Decodes images in parallel.

    Args:
        decoded: returns an image on the canvas, uint8 [height, width, 3], or raises Undecodable.
        items: what it is called with.
        canvas: (height, width).
        size: the number of canvases, at least that of the items; by default that of the images that can be decoded.

    Returns:
        The indices of the items that could be decoded, int [n], their canvases, uint8 [size, height, width, 3], padded
        with zeros, and the reasons why the others could not, by index.
    """

    def attempt(item: Item) -> np.ndarray | str:
        try:
            return decoded(item)
        except Undecodable as error:
            return str(error)

    found = in_parallel(attempt, items)
    indices = [i for i, pixels in enumerate(found) if not isinstance(pixels, str)]
    canvases = np.zeros((len(indices) if size is None else size, *canvas, 3), np.uint8)
    for place, i in enumerate(indices):
        canvases[place] = found[i]
    reasons = {i: why for i, why in enumerate(found) if isinstance(why, str)}
    return np.array(indices, np.int64), canvases, reasons


def decode_files(
    files: Sequence[str], canvas: tuple[int, int], resize: str, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Decodes arbitrary files in parallel and in order, the same way as in training and validation.

    Args:
        files: paths.
        canvas: (height, width), see `pipeline.canvas_shape`.
        resize: data.resize.
        batch_size: number of files per batch.

    Returns:
        An iterator over batches, each of which is decoded while the one before it is used: the indices of its files
        that could be decoded, int [n], and their canvases, uint8 [batch_size, height, width, 3], padded with zeros.
    """

    def batch(start: int) -> tuple[np.ndarray, np.ndarray]:
        some = files[start : start + batch_size]
        indices, canvases, _ = decoded_batch(lambda file: decode_file(file, canvas, resize), some, canvas, batch_size)
        return start + indices, canvases

    return ahead(batch, range(0, len(files), batch_size))


def decode_paths(files: Sequence[str], canvas: tuple[int, int], resize: str) -> tuple[np.ndarray, np.ndarray]:
    """Decodes some files at once; see `decode_files` for canvas and resize.

    Returns:
        The indices of the files that could be decoded, int [n], and their canvases, uint8 [n, height, width, 3].
    """
    indices, canvases, _ = decoded_batch(lambda file: decode_file(file, canvas, resize), files, canvas)
    return indices, canvases


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
    return decode_paths([files[row] for row in rows], canvas, resize)
