"""Decodes chosen images outside of training and evaluation, as the network gets them there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from fashion_jax.data.decoding.decode import contents, decode, in_parallel
from fashion_jax.data.decoding.limits import Undecodable

if TYPE_CHECKING:
    from fashion_jax.data.dataset import Split


def decode_files(
    files: Sequence[str], canvas: tuple[int, int], resize: str, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray, dict[int, str]]]:
    """Decodes arbitrary files in parallel and in order, the same way as in training and validation.

    Args:
        files: paths.
        canvas: (height, width), see `pipeline.canvas_shape`.
        resize: data.resize.
        batch_size: number of files per batch.

    Yields:
        The indices [n] of the next files that could be decoded, their canvases (uint8 [batch_size, height, width, 3],
        padded with zeros), and the reasons why the others could not (index -> words). Each file is in exactly one
        batch; the last batch may be empty.
    """

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
