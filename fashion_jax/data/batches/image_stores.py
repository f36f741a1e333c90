"""Stores of the decoded images of a split in host memory or on the devices; streamed_images has the one on disk."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from fashion_jax.devices.mesh import batch_sharding, in_turn, local_rows, put_batch, replicated

_CHUNK = 64  # images decoded per chunk, between two checks for a waiting reader

IndexBatches = Callable[[], Iterator[np.ndarray]]


class Images(Protocol):
    """The decoded images of a split."""

    def batches(self, indices: IndexBatches) -> Iterator[Any]:
        """Yields uint8 [len(indices), height, width, 3] for each array of indices.

        Yields numpy arrays, or global device arrays if the images are kept on the devices: then each process passes the
        indices of its `local_rows`, all of the same length, and gets the whole batch.
        """


class CachedImages:
    """Decodes each image that is used, once, in a thread, and keeps it in host memory.

    The images are decoded in the order of their first use, so that training starts before all are decoded. Those that
    no batch of this process uses are not decoded, and take no memory.
    """

    def __init__(self, images: Images, count: int, canvas: tuple[int, int]):
        self._images, self._pixels = images, np.empty((count, *canvas, 3), np.uint8)
        self._ready = np.zeros(count, bool)
        self._changed = threading.Condition()
        self._is_filling = False
        self._error: BaseException | None = None

    def batches(self, indices: IndexBatches) -> Iterator[np.ndarray]:
        for batch in indices():
            self._wait_for(batch, indices)
            yield self._pixels[batch]

    def _wait_for(self, batch: np.ndarray, indices: IndexBatches) -> None:
        with self._changed:
            while not (self._error or self._ready[batch].all()):
                if not self._is_filling:  # the first batch, or one of before the first, after a rollback
                    self._is_filling = True
                    # not a daemon: a daemon inside TensorFlow would abort the interpreter at exit
                    threading.Thread(target=self._fill, args=(indices,), name="decoding").start()
                self._changed.wait()
            if self._error:
                raise self._error

    def _fill(self, indices: IndexBatches) -> None:
        known = self._ready.copy()

        def chunks() -> Iterator[np.ndarray]:
            return first_uses(indices, known)

        try:
            for places, pixels in zip(chunks(), self._images.batches(chunks), strict=True):
                self._pixels[places] = pixels
                with self._changed:
                    self._ready[places] = True
                    self._changed.notify_all()
                if not threading.main_thread().is_alive():
                    return
        except BaseException as error:  # raised where the images are waited for
            self._error = error
        finally:
            with self._changed:
                self._is_filling = False
                self._changed.notify_all()


class DeviceImages:
    """Keeps all images on each device of a mesh and gathers batches there: only indices are sent to the devices.

    Each process decodes the part that it sends to its own devices; the devices exchange the parts.
    """

    def __init__(
        self,
        images: Images,
        count: int,
        canvas: tuple[int, int],
        mesh: Mesh,
        decoded: Callable[[], None] = lambda: None,
    ):
        self._images, self._count, self._canvas, self._mesh = images, count, canvas, mesh
        self._decoded = decoded  # called while all images are decoded, before the first batch
        self._pixels: jax.Array | None = None
        self._take = jax.jit(
            lambda pixels, indices: jnp.take(pixels, indices, axis=0, mode="clip"),
            in_shardings=(replicated(mesh), batch_sharding(mesh)),
            out_shardings=batch_sharding(mesh),
        )

    def batches(self, indices: IndexBatches) -> Iterator[jax.Array]:
        if self._pixels is None:
            self._pixels = self._placed()
            del self._images
        for batch in indices():
            placed = put_batch({"indices": batch.astype(np.int32)}, self._mesh)
            yield self._take(self._pixels, placed["indices"])

    def _placed(self) -> jax.Array:
        """Returns all images on every device, padded to a multiple of the devices by repeating the last one."""
        rows = local_rows(self._mesh, self._count + -self._count % self._mesh.size)
        wanted = np.unique(np.minimum(rows, self._count - 1))
        pixels = np.empty((len(rows), *self._canvas, 3), np.uint8)
        chunks = [wanted[start : start + _CHUNK] for start in range(0, len(wanted), _CHUNK)]
        for k, decoded in enumerate(self._images.batches(lambda: iter(chunks))):
            pixels[k * _CHUNK : k * _CHUNK + len(decoded)] = decoded
            self._decoded()
        pixels[len(wanted) :] = pixels[len(wanted) - 1]
        parts = put_batch({"pixels": pixels}, self._mesh)["pixels"]
        if self._mesh.size == 1:
            return parts
        # The devices exchange the parts; jax.device_put would do so through the host's memory.
        exchanged = jax.jit(lambda x: x, out_shardings=replicated(self._mesh))
        return in_turn(exchanged(parts), self._mesh)


def first_uses(indices: IndexBatches, known: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the images that batches use, each once, in the order of their first use, until all are known.

    Args:
        indices: begins the batches.
        known: bool [images], those that are not yielded.

    Yields:
        Arrays of _CHUNK images; the last may be shorter.
    """
    known, waiting = known.copy(), np.zeros(0, np.int64)
    left = np.count_nonzero(~known)
    for batch in indices():
        new = batch[~known[batch]]
        if len(new):
            new = new[np.sort(np.unique(new, return_index=True)[1])]  # a batch may repeat an image
            known[new] = True
            waiting, left = np.concatenate([waiting, new]), left - len(new)
        while len(waiting) >= _CHUNK:
            yield waiting[:_CHUNK]
            waiting = waiting[_CHUNK:]
        if not left:
            break
    if len(waiting):
        yield waiting
