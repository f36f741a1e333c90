"""Limits on what decoding a file may cost: bytes, pixels, and memory that all threads share."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

MAX_BYTES = 256 << 20  # of one file, and of all files open at a time
MAX_PIXELS = 50_000_000  # decoded pixels of one image
MAX_RAW = 160_000_000  # bytes of uncompressed data; bounds the time, at about 10 ms per megabyte
MAX_SCANS = 100  # of a JPEG
MAX_SCANNED_PIXELS = 800_000_000  # of all scans together; each passes over the whole image
MAX_ASPECT = (
    200  # the longer side over the shorter one: cropping a line of pixels to a canvas would enlarge it without bounds
)
MAX_MEMORY = 700_000_000  # bytes for decoding besides the file, of one image and of all threads together


class Undecodable(ValueError):
    """An image cannot be used; the message is the reason."""


class DecodingPlan(NamedTuple):
    """A way to decode an image, and its cost.

    Attributes:
        memory: bytes that decoding takes, the resulting pixels included.
        run: decodes the image to uint8 [height, width, 3].
    """

    memory: int
    run: Callable[[], np.ndarray]


class Room:
    """A number of bytes that threads share: a thread that needs more than is free waits until others have finished."""

    def __init__(self, size: int):
        self._size = size
        self._reset()

    def _reset(self) -> None:
        self._used, self._changed = 0, threading.Condition()

    @contextlib.contextmanager
    def of(self, count: int) -> Iterator[None]:
        """Reserves `count` bytes while open, or all bytes if there are fewer in total.

        A thread may reserve bytes of FILES and then of DECODING, but not in the other order, and neither twice. So no
        thread waits for bytes that it holds itself.
        """
        count = min(count, self._size)
        with self._changed:
            while self._used + count > self._size:
                self._changed.wait()
            self._used += count
        try:
            yield
        finally:
            with self._changed:
                self._used -= count
                self._changed.notify_all()


FILES = Room(MAX_BYTES)
DECODING = Room(MAX_MEMORY)

if hasattr(os, "register_at_fork"):  # a forked process does not have the threads that hold bytes
    for _room in (FILES, DECODING):
        os.register_at_fork(after_in_child=_room._reset)


def check_size(height: int, width: int) -> None:
    """Checks the number of pixels to be decoded.

    Raises:
        Undecodable: there are none or too many, or the image is a narrow strip.
    """
    if width * height > MAX_PIXELS:
        raise Undecodable(f"the image has {width * height:,} pixels, more than {MAX_PIXELS:,}")
    check_shape(height, width)


def check_shape(height: int, width: int) -> None:
    """Does what check_size does, but allows any number of pixels."""
    if min(width, height) < 1:
        raise Undecodable(f"the image has {width} x {height} pixels, so none at all")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise Undecodable(
            f"the image is a strip of {width} x {height} pixels: one side may be {MAX_ASPECT} x the other"
        )


def check_scans(kind: str, scans: int, pixels: int, parts: int = 1) -> None:
    """Checks how often the pixels of an image, which has so many parts of pixels each, are gone through.

    Raises:
        Undecodable: it is too often.
    """
    if scans > MAX_SCANS * parts or (scans > parts and scans * pixels > MAX_SCANNED_PIXELS):
        raise Undecodable(
            f"the {kind} image has {scans} scans of {pixels:,} pixels each, more than {MAX_SCANS} scans or "
            f"{MAX_SCANNED_PIXELS:,} pixels in all of them"
        )


def check_cost(kind: str, height: int, width: int, memory: int, raw: int = 0) -> None:
    """Checks the bytes that decoding an image takes (memory), and the size of its uncompressed data (raw).

    Raises:
        Undecodable: there are too many.
    """
    for count, most, what in ((memory, MAX_MEMORY, "of memory to decode"), (raw, MAX_RAW, "once it is unpacked")):
        if count > most:
            raise Undecodable(
                f"the {kind} image of {width} x {height} pixels takes {count / 1e6:,.0f} MB {what}, more than "
                f"{most / 1e6:,.0f} MB"
            )
