"""From a file to pixels: the one way, for training, evaluation and prediction."""

from __future__ import annotations

import os
import stat
import struct
from typing import Any

import numpy as np

from fashion_jax.data.resizing import resized

MAX_PIXELS = 100_000_000  # of one image
MAX_BYTES = 1 << 30  # of one file

_BYTES_PER_PIXEL = 15  # while an image is decoded (3) and resized (12)
_KINDS = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"GIF8": "GIF", b"BM": "BMP", b"RIFF": "WebP"}
_GIF_IMAGE, _GIF_EXTENSION = 0x2C, 0x21


def decode(tf: Any, file: Any, canvas: tuple[int, int], resize: str) -> Any:
    """A file to uint8 [height, width, 3]; the shorter side is cut (crop) or the longer one fits (letterbox).

    Raises:
        tf.errors.OpError: it cannot be read or decoded, or would take too much memory.
    """
    data = tf.io.read_file(file)
    limit = tf.constant(MAX_PIXELS, tf.int64)
    with tf.control_dependencies([tf.debugging.assert_less_equal(_pixels_of(tf, data), limit)]):
        image = tf.io.decode_image(data, channels=3, expand_animations=False)
    size = tf.shape(image)[:2]
    target = tf.constant(canvas) if resize == "stretch" else _scaled(tf, size, canvas, resize)
    pixels = resized(tf, image, target)
    if resize == "crop":
        pixels = tf.image.resize_with_crop_or_pad(pixels, *canvas)
    elif resize == "letterbox":
        pixels = 255 - tf.image.resize_with_crop_or_pad(255 - pixels, *canvas)
    pixels = tf.ensure_shape(pixels, (*canvas, 3))
    return tf.cast(tf.clip_by_value(tf.round(pixels), 0, 255), tf.uint8)


def obstacle(file: str) -> str:
    """What makes it useless, or dangerous, to read a file: in words, "" where nothing does; does not read it."""
    try:
        status = os.stat(file)
    except FileNotFoundError:
        return "there is no such file"
    except OSError as error:
        return f"the file cannot be read ({error.strerror})"
    if not stat.S_ISREG(status.st_mode):
        return "this is a folder" if stat.S_ISDIR(status.st_mode) else "this is no regular file"
    if not status.st_size:
        return "the file is empty"
    return f"the file has more than {MAX_BYTES >> 20} MiB" if status.st_size > MAX_BYTES else ""


def reason(tf: Any, file: str) -> str:
    """Why decode() has failed on a file, in words."""
    if found := obstacle(file):
        return found
    try:
        with open(file, "rb") as opened:
            data = opened.read()
    except OSError as error:
        return f"the file cannot be read ({error.strerror})"
    kind = next((kind for start, kind in _KINDS.items() if data.startswith(start)), "")
    if not kind:
        return f"this is no image of the kinds {', '.join(_KINDS.values())}"
    try:
        pixels = int(_pixels_of(tf, data))
    except tf.errors.OpError:
        pixels = 0
    if pixels > MAX_PIXELS:
        return f"the image has {pixels:,} pixels, more than {MAX_PIXELS:,}"
    return f"the {kind} image is damaged, cut off or of a variety that cannot be decoded"


def _scaled(tf: Any, size: Any, canvas: tuple[int, int], resize: str) -> Any:
    """The size [2] of the image that covers the canvas (crop) or fits into it, at least one pixel."""
    ratio = tf.cast(canvas, tf.float64) / tf.cast(size, tf.float64)
    ratio = tf.reduce_max(ratio) if resize == "crop" else tf.reduce_min(ratio)
    target = tf.round(tf.cast(size, tf.float64) * ratio)
    limit = tf.constant(MAX_PIXELS, tf.float64)  # a line of pixels, made as high as the canvas, is endless
    with tf.control_dependencies([tf.debugging.assert_less_equal(tf.reduce_prod(target), limit)]):
        return tf.maximum(tf.cast(target, tf.int32), 1)


def _pixels_of(tf: Any, data: Any) -> Any:
    """The number of pixels (int64) that a file's content announces, known before it is decoded."""
    return tf.cond(
        tf.io.is_jpeg(data),
        lambda: tf.reduce_prod(tf.cast(tf.io.extract_jpeg_shape(data)[:2], tf.int64)),
        lambda: tf.ensure_shape(tf.numpy_function(_announced_pixels, [data], tf.int64), ()),
    )


def _announced_pixels(content: bytes | np.ndarray) -> np.int64:
    """As _pixels_of, of other kinds than JPEG; an unknown kind, or a header that is cut off, has too many."""
    data = content if isinstance(content, bytes) else content.item()  # outside of a graph TensorFlow wraps it
    try:
        if data.startswith(b"\x89PNG"):
            width, height = struct.unpack_from(">II", data, 16)
        elif data.startswith(b"GIF8"):
            width, height = _gif_pixels(data), 1
        elif data.startswith(b"BM"):
            width, height = struct.unpack_from("<ii", data, 18)
        else:
            width, height = _webp_size(data)
    except (struct.error, ValueError):
        return np.int64(MAX_PIXELS + 1)
    return np.int64(abs(width * height))


def _gif_pixels(data: bytes) -> int:
    """Of the screen or the largest image; many images count by the byte that the decoder holds of each pixel."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    areas, place = [width * height], 13 + _color_table(flags)
    while place < len(data) and data[place] in (_GIF_IMAGE, _GIF_EXTENSION):
        if data[place] == _GIF_IMAGE:
            width, height, flags = struct.unpack_from("<HHB", data, place + 5)
            areas.append(width * height)
            place += 9 + _color_table(flags)
        place += 2
        while place < len(data) and data[place]:
            place += data[place] + 1
        place += 1
    return max(*areas, sum(areas) // _BYTES_PER_PIXEL)


def _color_table(flags: int) -> int:
    """The bytes of a GIF's table of colours."""
    return 3 * (2 << (flags & 7)) if flags & 0x80 else 0


def _webp_size(data: bytes) -> tuple[int, int]:
    """Of the canvas; raises ValueError where the content is no WebP."""
    kind = data[8:16]
    if kind == b"WEBPVP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"WEBPVP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"WEBPVP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    raise ValueError("no WebP")
