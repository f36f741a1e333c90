"""From a file to pixels: the one way, for training, evaluation and prediction.

What decode() does depends on nothing but the file's content. Plain JPEGs are decoded by libjpeg-turbo, all other files,
among them turned and CMYK JPEGs, by Pillow. Neither holds Python's lock meanwhile, so threads do it in parallel.
"""

from __future__ import annotations

import contextlib
import functools
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from fashion_jax.data.decoding.jpeg_header import JPEG, Header, cost_of, read_header
from fashion_jax.data.decoding.limits import DECODING, FILES, MAX_BYTES, Plan, Undecodable
from fashion_jax.data.decoding.pillow import damaged, decode_jpeg_by_pillow, plan_by_pillow
from fashion_jax.data.decoding.resizing import resized
from fashion_jax.devices.host import usable_processors

DECODER = 3  # grows when a file may come to other pixels than before

_ENOUGH = 2  # times the canvas: what a JPEG that is decoded at a reduced scale has at least
_SMOOTHED = 1.5  # times the canvas: from there on resizing smooths colors as well as interpolating them would
_TOGETHER = 8  # images that a thread takes at a time


def decode(data: bytes, canvas: tuple[int, int], resize: str) -> np.ndarray:
    """What a file holds to uint8 [height, width, 3]; the shorter side is cut (crop) or the longer one fits (letterbox).

    Raises:
        Undecodable: it is no image, damaged, or would take too much memory.
    """
    plan = _plan(data, (_ENOUGH * canvas[0], _ENOUGH * canvas[1]))
    with DECODING.of(plan.memory):
        return fit(plan.run(), canvas, resize)


def to_rgb(data: bytes, least: tuple[int, int]) -> np.ndarray:
    """What a file holds to uint8 [height, width, 3], upright and on white.

    JPEGs are decoded at a half, a quarter or an eighth of their size where that leaves at least `least`. Where there is
    three quarters of it, colors that a JPEG has at half the size are repeated and not interpolated, as they will be
    smoothed by resizing.

    Raises:
        Undecodable: as decode.
    """
    plan = _plan(data, least)
    with DECODING.of(plan.memory):
        return plan.run()


def _plan(data: bytes, least: tuple[int, int]) -> Plan:
    if not data.startswith(JPEG):
        return plan_by_pillow(data)
    if not (header := read_header(data)):
        raise Undecodable(damaged("JPEG"))
    ratio, memory = cost_of(data, header, least)

    def run() -> np.ndarray:
        if header.is_plain:
            import simplejpeg

            with contextlib.suppress(ValueError):  # damaged, of a rare variety, some bytes too many: Pillow knows which
                return simplejpeg.decode_jpeg(data, **_shortcuts(header, ratio, least))
        return decode_jpeg_by_pillow(data, header, ratio)

    return Plan(memory, run)


def fit(image: np.ndarray, canvas: tuple[int, int], resize: str) -> np.ndarray:
    """Pixels (uint8 [height, width, 3]) brought to a canvas, anti-aliased."""
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
    """What a file holds, for as long as this is open: files of all threads together have at most MAX_BYTES then.

    Raises:
        Undecodable: it cannot be read, is empty, or has more than MAX_BYTES.
    """
    try:
        status = os.stat(file)
    except OSError as error:
        raise Undecodable(unreadable(error)) from error
    if found := obstacle_in(status):
        raise Undecodable(found)
    with FILES.of(status.st_size):
        try:
            with open(file, "rb", buffering=0) as opened:
                data = opened.readall()
        except OSError as error:
            raise Undecodable(unreadable(error)) from error
        yield data


def in_parallel(work: Callable[[Any], Any], things: Sequence[Any]) -> list[Any]:
    """work(thing) of each, in their order, by as many threads as there are processors."""
    parts = [things[i : i + _TOGETHER] for i in range(0, len(things), _TOGETHER)]
    return [result for results in _threads().map(lambda part: [work(x) for x in part], parts) for result in results]


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(usable_processors(), "decoding")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.cache_clear)  # a fork has no threads but its own


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


def _shortcuts(header: Header, ratio: int, least: tuple[int, int]) -> dict[str, int | bool]:
    """What makes simplejpeg decode at a fraction of the size, and repeat colors of half the size."""
    height, width = header.height, header.width
    if ratio > 1:
        return {"min_height": -(-height // ratio), "min_width": -(-width // ratio), "min_factor": ratio}
    return {"fastupsample": min(height / least[0], width / least[1]) >= _SMOOTHED / _ENOUGH}
