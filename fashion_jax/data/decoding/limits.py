"""What a single file may cost: bytes, pixels, and memory, which all threads share."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

MAX_BYTES = 256 << 20  # of one file
MAX_PIXELS = 50_000_000  # that are decoded of one image
MAX_RAW = 160_000_000  # bytes that its compression is undone to: it bounds the time, at about 10 ms for a megabyte
MAX_ASPECT = 200  # the longer side over the shorter one: cut to a canvas, a line of pixels would be endless
MAX_MEMORY = 700_000_000  # bytes that decoding one image takes besides its file, and all threads together


class Undecodable(ValueError):
    """Why an image cannot be used, in words."""


class Plan(NamedTuple):
    """How an image is decoded.

    Attributes:
        memory: bytes that it takes, the pixels that come of it included.
        run: decodes it to uint8 [height, width, 3].
    """

    memory: int
    run: Callable[[], np.ndarray]


class Room:
    """Bytes that threads share: who needs more than is free waits until others have finished."""

    def __init__(self, size: int):
        self._size = size
        self._reset()

    def _reset(self) -> None:
        self._used, self._changed = 0, threading.Condition()

    @contextlib.contextmanager
    def of(self, count: int) -> Iterator[None]:
        """Takes count bytes for a while, all of them where there are fewer in all.

        A thread may take from FILES and then from DECODING, but neither twice nor in the other order: so none waits
        for bytes of which it holds some itself.
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

if hasattr(os, "register_at_fork"):  # a fork has none of the threads that hold some of it
    for _room in (FILES, DECODING):
        os.register_at_fork(after_in_child=_room._reset)


def check_size(height: int, width: int) -> None:
    """Checks the pixels that are to be decoded.

    Raises:
        Undecodable: there are none, too many, or they are a strip.
    """
    if width * height > MAX_PIXELS:
        raise Undecodable(f"the image has {width * height:,} pixels, more than {MAX_PIXELS:,}")
    check_shape(height, width)


def check_shape(height: int, width: int) -> None:
    """As check_size, but for any number of pixels."""
    if min(width, height) < 1:
        raise Undecodable(f"the image has {width} x {height} pixels, so none at all")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise Undecodable(
            f"the image is a strip of {width} x {height} pixels: one side may be {MAX_ASPECT} x the other"
        )


def check_cost(kind: str, height: int, width: int, memory: int, raw: int = 0) -> None:
    """Checks the bytes that decoding an image takes, and those that its compression is undone to (raw).

    Raises:
        Undecodable: there are too many.
    """
    for count, most, what in ((memory, MAX_MEMORY, "of memory to decode"), (raw, MAX_RAW, "once it is unpacked")):
        if count > most:
            raise Undecodable(
                f"the {kind} image of {width} x {height} pixels takes {count / 1e6:,.0f} MB {what}, more than "
                f"{most / 1e6:,.0f} MB"
            )
