"""TensorFlow reads and decodes on the CPU, and nothing else."""

from __future__ import annotations

from typing import Any


def import_tensorflow() -> Any:
    """TensorFlow, kept off the accelerators; imported late because it takes seconds."""
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
    tf.config.set_visible_devices([], "TPU")
    return tf


def failures(tf: Any) -> tuple[type[Exception], ...]:
    """What an operation on the content of a file fails with: a message with bytes of it in it is no text to Python."""
    return tf.errors.OpError, UnicodeDecodeError
