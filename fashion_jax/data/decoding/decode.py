"""Decodes image files to pixels, in the same way for training, evaluation and prediction.

The result of decode() depends only on the content of the file. Plain JPEGs are decoded by libjpeg-turbo; all other
files, rotated and CMYK JPEGs included, by Pillow. Both release Python's lock, so threads decode in parallel.
"""

from __future__ import annotations

import contextlib
import functools
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from fashion_jax.data.decoding.jpeg_header import JPEG, Header, cost_of, read_header
from fashion_jax.data.decoding.limits import DECODING, FILES, MAX_BYTES, DecodingPlan, Undecodable
from fashion_jax.data.decoding.pillow import damaged, decode_jpeg_by_pillow, plan_by_pillow
from fashion_jax.data.decoding.resizing import resized
from fashion_jax.devices.host import usable_processors

Item = TypeVar("Item")
Result = TypeVar("Result")

NO_FILE = "there is no such file"  # the reason of `why_unreadable` and `obstacle` for a file that is missing

DECODER = 4  # changes when the same file may give other pixels than before

_ENOUGH = 2  # times the canvas: the minimum size of a JPEG decoded at a reduced scale
_SMOOTHED = 1.5  # times the canvas: above it, resizing smooths colors as well as interpolation would
_TOGETHER = 8  # images per task of a thread; fewer if otherwise threads had none


def decode(data: bytes, canvas: tuple[int, int], resize: str) -> np.ndarray:
    """Decodes the content of a file to uint8 [height, width, 3] of the canvas's size.

    To keep the aspect ratio, resize "crop" cuts the longer side and "letterbox" pads the shorter one.

    Raises:
        Undecodable: the file is no image, is damaged, or would take too much memory.
    """
    plan = _plan(data, (_ENOUGH * canvas[0], _ENOUGH * canvas[1]))
    with DECODING.of(plan.memory):
        return fit(plan.run(), canvas, resize)


def decode_file(file: str, canvas: tuple[int, int], resize: str) -> np.ndarray:
    """Reads a file and decodes it to uint8 [height, width, 3] of the canvas's size; see `decode` and `contents`."""
    with contents(file) as data:
        return decode(data, canvas, resize)


def to_rgb(data: bytes, least: tuple[int, int]) -> np.ndarray:
    """Decodes the content of a file to uint8 [height, width, 3], upright and on white.

    JPEGs are decoded at 1/2, 1/4 or 1/8 scale if that leaves at least `least` pixels (height, width). If it leaves
    three quarters of `least` or more, colors stored at half resolution are repeated instead of interpolated, since
    resizing will smooth them.

    Raises:
        Undecodable: see decode.
    """
    plan = _plan(data, least)
    with DECODING.of(plan.memory):
        return plan.run()


def _plan(data: bytes, least: tuple[int, int]) -> DecodingPlan:
    if not data.startswith(JPEG):
        return plan_by_pillow(data)
    if not (header := read_header(data)):
        raise Undecodable(damaged("JPEG"))
    ratio, memory = cost_of(data, header, least)

    def run() -> np.ndarray:
        if header.is_plain:
            import simplejpeg

            with contextlib.suppress(ValueError):  # damaged, rare, or with surplus bytes: Pillow knows which
                return simplejpeg.decode_jpeg(data, **_shortcuts(header, ratio, least))
        return decode_jpeg_by_pillow(data, header, ratio)

    return DecodingPlan(memory, run)


def fit(image: np.ndarray, canvas: tuple[int, int], resize: str) -> np.ndarray:
    """Fits pixels (uint8 [height, width, 3]) to a canvas, anti-aliased."""
    if resize == "stretch":
        return resized(image, canvas)
    ratios = [wanted / size for wanted, size in zip(canvas, image.shape, strict=False)]
    ratio = max(ratios) if resize == "crop" else min(ratios)
    pixels = resized(image, tuple(max(round(size * ratio), 1) for size in image.shape[:2]))
    gaps = [wanted - size for wanted, size in zip(canvas, pixels.shape, strict=False)]
    if resize == "crop":
        top, left = (-gap // 2 for gap in gaps)
        return pixels[top : top + canvas[0], left : left + canvas[1]].copy()  # a view would keep all of it
    sides = [(gap // 2, gap - gap // 2) for gap in gaps]
    return np.pad(pixels, [*sides, (0, 0)], constant_values=255)


@contextlib.contextmanager
def contents(file: str) -> Iterator[bytes]:
    """Yields the content of a file; files open in all threads together have at most MAX_BYTES.

    Raises:
        Undecodable: the file cannot be read, is empty, or has more than MAX_BYTES.
    """
    try:
        status = os.stat(file)
    except OSError as error:
        raise Undecodable(why_unreadable(error)) from error
    if found := obstacle_in(status):
        raise Undecodable(found)
    with FILES.of(status.st_size):
        try:
            with open(file, "rb", buffering=0) as opened:
                data = opened.readall()
        except OSError as error:
            raise Undecodable(why_unreadable(error)) from error
        yield data


def in_parallel(work: Callable[[Any], Any], things: Sequence[Any]) -> list[Any]:
    """Returns work(thing) for each thing, in order, computed by as many threads as there are processors."""
    together = max(1, min(_TOGETHER, len(things) // usable_processors()))
    parts = [things[i : i + together] for i in range(0, len(things), together)]
    return [result for results in _threads().map(lambda part: [work(x) for x in part], parts) for result in results]


def ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yields function(item) for each item, in order; a thread computes a result while the one before it is used."""
    with ThreadPoolExecutor(1, "ahead") as thread:
        pending = None
        for item in items:
            following = thread.submit(function, item)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(usable_processors(), "decoding")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.cache_clear)  # a forked process does not have its parent's threads


def obstacle(file: str) -> str:
    """Says why reading a file would be useless or dangerous, without reading it; "" if nothing is known against it."""
    try:
        return obstacle_in(os.stat(file))
    except OSError as error:
        return why_unreadable(error)


def obstacle_in(status: os.stat_result) -> str:
    """Returns what `obstacle` returns, for a file whose status (os.stat_result) is known."""
    if not stat.S_ISREG(status.st_mode):
        return "this is a folder" if stat.S_ISDIR(status.st_mode) else "this is no regular file"
    if not status.st_size:
        return "the file is empty"
    return f"the file has more than {MAX_BYTES >> 20} MiB" if status.st_size > MAX_BYTES else ""


def why_unreadable(error: OSError) -> str:
    """Says why a file cannot be opened or found."""
    if isinstance(error, FileNotFoundError):
        return NO_FILE
    return f"the file cannot be read ({error.strerror})"


def _shortcuts(header: Header, ratio: int, least: tuple[int, int]) -> dict[str, int | bool]:
    """Returns options that make simplejpeg decode at a reduced scale, and repeat colors stored at half resolution."""
    height, width = header.height, header.width
    if ratio > 1:
        return {"min_height": -(-height // ratio), "min_width": -(-width // ratio), "min_factor": ratio}
    return {"fastupsample": min(height / least[0], width / least[1]) >= _SMOOTHED / _ENOUGH}
