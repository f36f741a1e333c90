"""Decodes the images of a split from disk whenever they are asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np

from fashion_jax.data.batches.image_stores import IndexBatches
from fashion_jax.data.decoding.decode import contents, decode, in_parallel
from fashion_jax.data.decoding.file_check import first_unusable
from fashion_jax.data.decoding.limits import Undecodable
from fashion_jax.data.outages import may_pass, outage, tried_again
from fashion_jax.data.tensorflow_cpu import closed_at_exit, dataset_of, empty_batch, failures, import_tensorflow
from fashion_jax.devices.host import usable_processors
from fashion_jax.errors import RunError, UserError, first_line

# Batches that are decoded at the same time, each by some threads; it does not change them. With at least 2, no thread
# idles until the last image of a batch is decoded.
_PARALLEL_BATCHES = min(max(2, usable_processors() // 8), 8)


class StreamedImages:
    """Reads and decodes an image whenever it is asked for; holds only a few batches in memory."""

    def __init__(self, files: Sequence[str], canvas: tuple[int, int], resize: str):
        self._files, self._canvas, self._resize = files, canvas, resize
        self._outages: list[tuple[str, str]] = []  # files that are there but could not be read, and why

    @closed_at_exit
    def batches(self, indices: IndexBatches) -> Iterator[np.ndarray]:
        tf = import_tensorflow()
        dataset = dataset_of(tf, indices).map(
            lambda batch: tf.numpy_function(self._decoded, [batch], tf.uint8), _PARALLEL_BATCHES, deterministic=True
        )
        asked = indices()
        try:
            for pixels in dataset.prefetch(2).as_numpy_iterator():
                yield pixels
                next(asked)
        except failures(tf) as error:
            raise self._undecodable(next(asked), error) from error

    def _decoded(self, indices: np.ndarray) -> np.ndarray:
        """Decodes the images at `indices` to uint8 [len(indices), height, width, 3]."""
        pixels = empty_batch((len(indices), *self._canvas, 3))

        def fill(place: int) -> None:
            with self._patiently(self._files[indices[place]]) as data:
                pixels[place] = decode(data, self._canvas, self._resize)

        in_parallel(fill, range(len(indices)))
        return pixels

    def _undecodable(self, indices: np.ndarray, error: Exception) -> Exception:
        """Returns an error that names the unusable image of the failed batch, which tf.data's own error does not."""
        if self._outages:
            file, why = self._outages[-1]
            return outage(f"The image {file!r}", why)
        found = first_unusable([self._files[i] for i in indices])
        if found is None:
            return RunError(
                f"An image of a batch could not be read and decoded ({first_line(error)}), but now all can be: run the "
                "same command again to resume."
            )
        file, why = found
        return UserError(
            f"The image {file!r} cannot be read and decoded ({why}): repair it, or take it out of the data."
        )

    @contextlib.contextmanager
    def _patiently(self, file: str) -> Iterator[bytes]:
        """Yields the content of a file as `contents` does; waits for a file that is there but cannot be read."""
        with contextlib.ExitStack() as stack:
            try:
                data = tried_again(lambda: stack.enter_context(contents(file)))
            except Undecodable as error:
                if may_pass(error):
                    self._outages.append((file, str(error)))
                raise
            yield data
