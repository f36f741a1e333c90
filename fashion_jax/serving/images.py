"""Turns all that an image may be in Python into pixels on the canvas, as training decodes the image's file."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from PIL import Image as pillow

from fashion_jax.data.batches.chosen_images import decoded_batch
from fashion_jax.data.decoding.decode import ahead, decode, decode_file, fit
from fashion_jax.data.decoding.limits import DECODING, MAX_BYTES, Undecodable, check_size
from fashion_jax.data.decoding.pillow import pixels_of
from fashion_jax.data.sources.inputs import Input

# A path, the content of a file, an opened image, or pixels.
Image = str | os.PathLike[str] | bytes | bytearray | memoryview | pillow.Image | np.ndarray | Input

_KINDS = "a path, bytes, a PIL image, or an array of uint8 [height, width], [height, width, 3] or [height, width, 4]"
_PER_PIXEL = 8  # bytes: four channels of a PIL image that is loaded, and its colors


class Decoded(NamedTuple):
    """Some consecutive images on the canvas.

    Attributes:
        names: the names of all images, "" for those without.
        errors: index -> why an image could not be decoded.
        indices: int [n], of the images that could be decoded.
        canvases: uint8 [at least n, height, width, 3], padded with zeros.
    """

    names: list[str]
    errors: dict[int, str]
    indices: np.ndarray
    canvases: np.ndarray


def to_canvas(image: Image, canvas: tuple[int, int], resize: str) -> np.ndarray:
    """Returns an image on the canvas, uint8 [height, width, 3].

    A PIL image or an array gives the same pixels as a lossless file of it: transparency is put on white, and an opened
    photograph is turned upright as its EXIF data say.

    Args:
        image: a path, the bytes of a file, a PIL image, a uint8 array [height, width], [height, width, 3 or 4], or an
            Input.
        canvas: (height, width).
        resize: data.resize.

    Raises:
        Undecodable: there is no image, or it cannot be decoded.
    """
    if isinstance(image, Input):
        if image.error:
            raise Undecodable(image.error)
        return _of_file(image.file, canvas, resize)
    if isinstance(image, str | os.PathLike):
        return _of_file(_expanded(os.fspath(image)), canvas, resize)
    if isinstance(image, bytes | bytearray | memoryview):
        return decode(_checked_bytes(image), canvas, resize)
    if not isinstance(image, pillow.Image):
        pixels = _checked_array(image)
        if pixels.ndim == 3 and pixels.shape[2] == 3:
            check_size(*pixels.shape[:2])
            return fit(pixels, canvas, resize)
        image = pillow.fromarray(pixels)
    check_size(image.height, image.width)
    with DECODING.of(_PER_PIXEL * image.height * image.width):
        return fit(pixels_of(image), canvas, resize)


def _expanded(file: str) -> str:
    return file if "\0" in file else os.path.expanduser(file)


def _of_file(file: str, canvas: tuple[int, int], resize: str) -> np.ndarray:
    if "\0" in file:
        raise Undecodable("the path has a NUL character")
    return decode_file(file, canvas, resize)


def _checked_bytes(data: bytes | bytearray | memoryview) -> bytes:
    data = bytes(data)
    if not data:
        raise Undecodable("there are no bytes")
    if len(data) > MAX_BYTES:
        raise Undecodable(f"there are more than {MAX_BYTES >> 20} MiB")
    return data


def _checked_array(image: Any) -> np.ndarray:
    """Returns an image's pixels, uint8 [height, width], [height, width, 3] or [height, width, 4]."""
    is_missing = image is None or (isinstance(image, float) and math.isnan(image))
    if is_missing or type(image).__name__ == "NAType":  # of pandas
        raise Undecodable(f"there is no image ({image})")
    if not hasattr(image, "__array__") or not getattr(image, "ndim", 0):
        raise Undecodable(f"this is of type {type(image).__name__}, but an image is {_KINDS}")
    pixels = np.asarray(image)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,), (4,)):
        raise Undecodable(f"this is an array of {pixels.dtype} {list(pixels.shape)}, but an image is {_KINDS}")
    return pixels


def each_image(images: Any) -> Iterator[Image]:
    """Returns an iterator over images: of a list, an iterator, a column of a table, an array with an axis of images.

    A single image is the only one of its iterator.

    Raises:
        TypeError: the argument is no image and has none.
    """
    if isinstance(images, str | os.PathLike | bytes | bytearray | memoryview | pillow.Image | Input):
        return iter([images])
    if isinstance(images, Mapping) or hasattr(images, "columns") or hasattr(images, "column_names"):
        kind = type(images).__name__
        raise TypeError(f"images is of type {kind}: give a list of images, or one column, such as table['image']")
    if getattr(images, "ndim", None) in (2, 3):
        return iter([images])
    try:
        return iter(images)
    except TypeError:
        raise TypeError(f"images is of type {type(images).__name__}, but must be a list of images: {_KINDS}") from None


def decoded_ahead(
    images: Iterable[Image], canvas: tuple[int, int], resize: str, batch_size: int, are_first: bool = True
) -> Iterator[Decoded]:
    """Decodes images in threads, in batches and in order; a batch is decoded while the one before it is used.

    Args:
        images: see `to_canvas`; also scalars of pyarrow that hold a path or bytes. They are read in the calling thread,
            at most two batches ahead.
        canvas: (height, width).
        resize: data.resize.
        batch_size: the number of images in a batch.
        are_first: whether no other images come before these, of which they are only a part.

    Returns:
        The images, each in exactly one batch. All batches have `batch_size` canvases, padded with zeros; only first
        images that are fewer than one batch have no more canvases than needed.
    """

    def batch(part: Sequence[Image], is_whole: bool) -> Decoded:
        size = batch_size if is_whole else None
        indices, canvases, errors = decoded_batch(lambda image: to_canvas(image, canvas, resize), part, canvas, size)
        return Decoded([name_of(image) for image in part], errors, indices, canvases)

    parts = enumerate(_parts(images, batch_size), 0 if are_first else 1)
    return ahead(lambda item: batch(item[1], item[0] > 0 or len(item[1]) == batch_size), parts)


def _parts(images: Iterable[Any], size: int) -> Iterator[list[Image]]:
    remaining = (image.as_py() if hasattr(image, "as_py") else image for image in images)
    while part := list(islice(remaining, size)):
        yield part


def name_of(image: Image) -> str:
    """Returns the path of an image, or the name of an Input; "" for bytes, PIL images and arrays."""
    if isinstance(image, Input):
        return image.name
    return os.fspath(image) if isinstance(image, str | os.PathLike) else ""
