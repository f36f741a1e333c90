"""TensorFlow brings the batches, on the CPU, and does nothing else."""

from __future__ import annotations

import atexit
import contextlib
import functools
import math
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fashion_jax.devices.host import keep_freed_memory

_open: weakref.WeakSet[Any] = weakref.WeakSet()  # generators that have not ended

_ALIGNMENT = 64  # bytes: Eigen's at most


def import_tensorflow() -> Any:
    """TensorFlow, kept off the accelerators; imported late because it takes seconds."""
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
    tf.config.set_visible_devices([], "TPU")
    return tf


def dataset_of(tf: Any, indices: Callable[[], Iterator[np.ndarray]]) -> Any:
    """A tf.data.Dataset of arrays of indices (int64 [n])."""

    def begun() -> Iterator[np.ndarray]:
        # GeneratorDatasetOp makes glibc take everything above 128 KiB fresh from the system, every time
        # (ApplyPython311MemoryPatch): 1,500 page faults an image of 400x533 pixels, which more than double its time.
        # So this comes after such an operation is there.
        keep_freed_memory()
        yield from indices()

    return tf.data.Dataset.from_generator(begun, output_signature=tf.TensorSpec([None], tf.int64))


def closed_at_exit(create: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """Of a generator function whose generators run TensorFlow's threads: the interpreter cannot end beside these."""

    @functools.wraps(create)
    def created(*args: Any, **kwargs: Any) -> Iterator[Any]:
        generator = create(*args, **kwargs)
        _open.add(generator)
        return generator

    return created


@atexit.register
def _close() -> None:
    for generator in list(_open):
        with contextlib.suppress(ValueError):  # one that is just running, in a thread
            generator.close()


def empty_batch(shape: tuple[int, ...]) -> np.ndarray:
    """As np.empty, of uint8, at an address at which TensorFlow takes what a NumPy function returns without a copy."""
    size = math.prod(shape)
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].reshape(shape)


def failures(tf: Any) -> tuple[type[Exception], ...]:
    """What an operation on the content of a file fails with: a message with bytes of it in it is no text to Python."""
    return tf.errors.OpError, UnicodeDecodeError
