"""Stores of the decoded images of a split in host memory or on the devices; streamed_images has the one on disk."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from fashion_jax.devices.mesh import batch_sharding, put_batch, replicated

_CHUNK = 64  # images decoded per chunk, between two checks for a waiting reader

IndexBatches = Callable[[], Iterator[np.ndarray]]


class Images(Protocol):
    """The decoded images of a split."""

    def batches(self, indices: IndexBatches) -> Iterator[Any]:
        """Yields uint8 [len(indices), height, width, 3] for each array of indices.

        All arrays of indices must have the same length. Yields numpy arrays, or global device arrays if the images are
        kept on the devices: then each process passes the indices of its `local_rows` and gets the whole batch.
        """


class CachedImages:
    """Decodes every image once, in a thread, and keeps it in host memory.

    The images are decoded in the order of their first use, so that training starts before all are decoded.
    """

    def __init__(self, images: Images, count: int, canvas: tuple[int, int]):
        self._images, self._pixels = images, np.empty((count, *canvas, 3), np.uint8)
        self._ready = np.zeros(count, bool)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def batches(self, indices: IndexBatches) -> Iterator[np.ndarray]:
        for batch in indices():
            self._wait_for(batch, indices)
            yield self._pixels[batch]

    def all(self) -> np.ndarray:
        """Returns all images, uint8 [images, height, width, 3], once every one is decoded."""
        everything = np.arange(len(self._pixels))
        self._wait_for(everything, lambda: iter([everything]))
        return self._pixels

    def _wait_for(self, batch: np.ndarray, indices: IndexBatches) -> None:
        if not self._thread:  # not a daemon: a daemon inside TensorFlow would abort the interpreter at exit
            self._thread = threading.Thread(target=self._fill, args=(indices,), name="decoding")
            self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._error or self._ready[batch].all())
            if self._error:
                raise self._error

    def _fill(self, indices: IndexBatches) -> None:
        try:
            order = _order_of_use(indices, len(self._ready))
            chunk = min(_CHUNK, len(order))
            padded = np.pad(order, (0, -len(order) % chunk), mode="edge")
            chunks = padded.reshape(-1, chunk)
            for places, pixels in zip(chunks, self._images.batches(lambda: iter(chunks)), strict=True):
                self._pixels[places] = pixels
                with self._changed:
                    self._ready[places] = True
                    self._changed.notify_all()
                if not threading.main_thread().is_alive():
                    return
        except BaseException as error:  # raised where the images are waited for
            with self._changed:
                self._error = error
                self._changed.notify_all()


class DeviceImages:
    """Keeps all images on each device of a mesh and gathers batches there: only indices are sent to the devices."""

    def __init__(self, images: CachedImages, mesh: Mesh):
        self._images, self._mesh = images, mesh
        self._pixels: jax.Array | None = None
        self._take = jax.jit(
            lambda pixels, indices: jnp.take(pixels, indices, axis=0, mode="clip"),
            in_shardings=(replicated(mesh), batch_sharding(mesh)),
            out_shardings=batch_sharding(mesh),
        )

    def batches(self, indices: IndexBatches) -> Iterator[jax.Array]:
        if self._pixels is None:
            self._pixels = jax.make_array_from_process_local_data(replicated(self._mesh), self._images.all())
            del self._images
        for batch in indices():
            placed = put_batch({"indices": batch.astype(np.int32)}, self._mesh)
            yield self._take(self._pixels, placed["indices"])


def _order_of_use(indices: IndexBatches, count: int) -> np.ndarray:
    """Returns each index below `count` once: in the order in which the batches first use it, unused ones at the end."""
    drawn, total = [], 0
    for batch in indices():
        drawn.append(batch)
        total += len(batch)
        if total >= count:
            break
    used = np.concatenate([*drawn, np.arange(count)])
    return used[np.sort(np.unique(used, return_index=True)[1])]
