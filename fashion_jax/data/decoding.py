"""From a file to pixels: the one way, for training, evaluation and prediction.

What decode() does depends on nothing but the file's content. JPEGs and PNGs that TensorFlow reads right are decoded
by it, in its own threads; all others, among them turned and CMYK JPEGs, by Pillow.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Any

import numpy as np

from fashion_jax.data.headers import PNG, read_header
from fashion_jax.data.pillow_decoding import (
    MAX_ASPECT,
    MAX_PIXELS,
    Undecodable,
    damaged,
    decode_by_pillow,
    kind_of,
    on_white,
)
from fashion_jax.data.resizing import resized

MAX_BYTES = 1 << 30  # of one file

_ENOUGH = 2  # times the canvas: what a JPEG that is decoded at a reduced scale has at least
_RATIOS = (1, 2, 4, 8)  # the scales that cost less to decode at
_AS_PNG, _BY_PILLOW = len(_RATIOS), len(_RATIOS) + 1


def decode(tf: Any, file: Any, canvas: tuple[int, int], resize: str) -> Any:
    """A file to uint8 [height, width, 3]; the shorter side is cut (crop) or the longer one fits (letterbox).

    Raises:
        tf.errors.OpError: it cannot be read or decoded, or would take too much memory.
    """
    return decode_content(tf, tf.io.read_file(file), canvas, resize)


def decode_content(tf: Any, data: Any, canvas: tuple[int, int], resize: str) -> Any:
    """As decode, of what a file holds."""
    return fit(tf, to_rgb(tf, data, (_ENOUGH * canvas[0], _ENOUGH * canvas[1])), canvas, resize)


def to_rgb(tf: Any, data: Any, least: tuple[int, int]) -> Any:
    """What a file holds to uint8 [height, width, 3], upright and on white.

    JPEGs are decoded at a half, a quarter or an eighth of their size where that leaves at least `least`.
    """

    def by_pillow() -> Any:
        image = tf.numpy_function(lambda content: decode_by_pillow(_bytes(content), least), [data], tf.uint8)
        return tf.ensure_shape(image, (None, None, 3))

    def jpeg(ratio: int) -> Callable[[], Any]:  # as Pillow does: its DCT is the accurate one
        return lambda: tf.io.decode_jpeg(data, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")

    way = tf.ensure_shape(tf.numpy_function(lambda content: _way(_bytes(content), least), [data], tf.int32), ())
    return tf.switch_case(way, [*map(jpeg, _RATIOS), lambda: _plain_png(tf, data), by_pillow])


def fit(tf: Any, image: Any, canvas: tuple[int, int], resize: str) -> Any:
    """Pixels (uint8 [height, width, 3]) brought to a canvas, anti-aliased."""
    size = tf.shape(image)[:2]
    target = tf.constant(canvas) if resize == "stretch" else _scaled(tf, size, canvas, resize)
    pixels = tf.cast(tf.round(resized(tf, image, target)), tf.uint8)  # of no negative weight: within 0 to 255
    if resize == "crop":
        pixels = tf.image.resize_with_crop_or_pad(pixels, *canvas)
    elif resize == "letterbox":
        gap = tf.constant(canvas) - target
        sides = tf.pad(tf.stack([gap // 2, gap - gap // 2], axis=1), [[0, 1], [0, 0]])  # none of the channels
        pixels = tf.pad(pixels, sides, constant_values=tf.constant(255, tf.uint8))
    return tf.ensure_shape(pixels, (*canvas, 3))


def obstacle(file: str) -> str:
    """What makes it useless, or dangerous, to read a file: in words, "" where nothing does; does not read it."""
    try:
        return obstacle_in(os.stat(file))
    except OSError as error:
        return unreadable(error)


def obstacle_in(status: os.stat_result) -> str:
    """As obstacle, of a file whose status is known."""
    if not stat.S_ISREG(status.st_mode):
        return "this is a folder" if stat.S_ISDIR(status.st_mode) else "this is no regular file"
    if not status.st_size:
        return "the file is empty"
    return f"the file has more than {MAX_BYTES >> 20} MiB" if status.st_size > MAX_BYTES else ""


def unreadable(error: OSError) -> str:
    """Why a file cannot be opened or found, in words."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    return f"the file cannot be read ({error.strerror})"


def reason(file: str) -> str:
    """Why decode() has failed on a file, in words."""
    if found := obstacle(file):
        return found
    try:
        with open(file, "rb") as opened:
            data = opened.read()
        decode_by_pillow(data, (1, 1))
    except OSError as error:
        return unreadable(error)
    except Undecodable as error:
        return str(error)
    return damaged(kind_of(data))  # which Pillow may think less of


def _way(data: bytes, least: tuple[int, int]) -> np.int32:
    """How a file is decoded: a JPEG at the scale of that place in _RATIOS, the smallest that leaves `least`, a PNG, or
    by Pillow, which also says what is wrong with one that may not be decoded."""
    header = read_header(data)
    if not (header and header.is_plain and _is_harmless(header.height, header.width)):
        return np.int32(_BY_PILLOW)
    if data.startswith(PNG):
        return np.int32(_AS_PNG)
    scale = min(header.height // least[0], header.width // least[1])
    return np.int32(sum(scale >= ratio for ratio in _RATIOS[1:]))


def _is_harmless(height: int, width: int) -> bool:
    short, long = sorted((height, width))
    return short > 0 and short * long <= MAX_PIXELS and long <= MAX_ASPECT * short


def _plain_png(tf: Any, data: Any) -> Any:
    pixels = tf.io.decode_png(data, channels=4)
    is_opaque = tf.reduce_all(tf.equal(pixels[..., 3], 255))
    return tf.cond(is_opaque, lambda: pixels[..., :3], lambda: tf.cast(on_white(tf.cast(pixels, tf.int32)), tf.uint8))


def _scaled(tf: Any, size: Any, canvas: tuple[int, int], resize: str) -> Any:
    """The size [2] of the image that covers the canvas (crop) or fits into it, at least one pixel."""
    ratio = tf.cast(canvas, tf.float64) / tf.cast(size, tf.float64)
    ratio = tf.reduce_max(ratio) if resize == "crop" else tf.reduce_min(ratio)
    return tf.maximum(tf.cast(tf.round(tf.cast(size, tf.float64) * ratio), tf.int32), 1)


def _bytes(content: bytes | np.ndarray) -> bytes:
    """Outside of a graph TensorFlow wraps what it passes on."""
    return content if isinstance(content, bytes) else content.item()
