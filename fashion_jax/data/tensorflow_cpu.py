"""Imports TensorFlow for the input pipeline only, restricted to the CPU."""

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

_open: weakref.WeakSet[Any] = weakref.WeakSet()  # generators that have not finished

_ALIGNMENT = 64  # bytes, the largest that Eigen asks for


def import_tensorflow() -> Any:
    """Imports TensorFlow and hides the accelerators from it; imported late because it takes seconds."""
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
    tf.config.set_visible_devices([], "TPU")
    return tf


def dataset_of(tf: Any, indices: Callable[[], Iterator[np.ndarray]]) -> Any:
    """Makes a tf.data.Dataset of arrays of indices (int64 [n])."""

    def begun() -> Iterator[np.ndarray]:
        # GeneratorDatasetOp makes glibc allocate everything above 128 KiB anew from the system, every time
        # (ApplyPython311MemoryPatch): 1,500 page faults per image of 400x533 pixels, which more than double its time.
        # So this call must come after such an operation has been created.
        keep_freed_memory()
        yield from indices()

    return tf.data.Dataset.from_generator(begun, output_signature=tf.TensorSpec([None], tf.int64))


def closed_at_exit(create: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """Decorates a generator function that runs TensorFlow threads: closes its generators at exit.

    The interpreter cannot end while these threads run.
    """

    @functools.wraps(create)
    def created(*args: Any, **kwargs: Any) -> Iterator[Any]:
        generator = create(*args, **kwargs)
        _open.add(generator)
        return generator

    return created


@atexit.register
def _close() -> None:
    for generator in list(_open):
        with contextlib.suppress(ValueError):  # the generator is running in a thread
            generator.close()


def empty_batch(shape: tuple[int, ...]) -> np.ndarray:
    """Returns an uninitialised uint8 array that TensorFlow takes from a NumPy function without a copy (aligned)."""
    size = math.prod(shape)
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].reshape(shape)


def failures(tf: Any) -> tuple[type[Exception], ...]:
    """Returns the exceptions of a failed operation on file content.

    UnicodeDecodeError is one of them: TensorFlow's message may contain bytes of the file that are not valid text.
    """
    return tf.errors.OpError, UnicodeDecodeError
