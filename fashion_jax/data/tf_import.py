"""TensorFlow reads and decodes on the CPU, and nothing else."""

from __future__ import annotations

import contextlib
import ctypes
import functools
from typing import Any

# glibc's M_MMAP_THRESHOLD, M_TRIM_THRESHOLD and M_TOP_PAD, in bytes
_MALLOC_OPTIONS = {-3: 32 << 20, -1: 2**31 - 1, -2: 32 << 20}


def import_tensorflow() -> Any:
    """TensorFlow, kept off the accelerators; imported late because it takes seconds."""
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
    tf.config.set_visible_devices([], "TPU")
    _keep_freed_memory()
    return tf


@functools.cache
def _keep_freed_memory() -> None:
    """Lets glibc use freed memory again instead of giving it back to the system.

    Each image passes through some megabytes of temporaries. Left to itself, glibc often takes them fresh from the
    system every time under TensorFlow: 1,500 page faults an image of 400x533 pixels, which more than double its time.
    Elsewhere than on glibc nothing is done.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in _MALLOC_OPTIONS.items():
            mallopt(option, value)


def failures(tf: Any) -> tuple[type[Exception], ...]:
    """What an operation on the content of a file fails with: a message with bytes of it in it is no text to Python."""
    return tf.errors.OpError, UnicodeDecodeError
