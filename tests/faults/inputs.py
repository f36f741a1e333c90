"""Clocks that jump, data that changes during a run, and data that was never good."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from tests.faults.lab import EVERY, Fault, Lab, Try, end_of, refused
from tests.faults.shop import Rows, make_shop, shop_fields

_CLOCK = """
import time
real, began = time.time, time.monotonic()
time.time = lambda: real() + (0 if time.monotonic() < began + 1.5 else {jump})
"""


def _clock(name: str, jump: int, lab: Lab) -> Iterator[Try]:
    """Lets the wall clock jump while the run saves."""
    command, same = lab.finish(lab.folder / "run", before=_CLOCK.format(jump=jump))
    yield Try(name, same, command.sentence() or "the same end")


CLOCK: list[Fault] = [
    functools.partial(_clock, name, jump)
    for name, jump in (("back by a day", -86400), ("forth by a day", 86400), ("to 1970", -1_700_000_000))
]


def _harmed(name: str, harm: Callable[[Path], object], lab: Lab) -> Iterator[Try]:
    """Damages an image while images are streamed; once it is restored, the run must come to the same end."""
    shop = make_shop(lab.folder / "shop", 128)
    fields = shop_fields(shop, data__cache="none", num_epochs=12) | {"checkpoint.every_steps": 2}
    assert lab.train(lab.folder / "whole", fields).wait() == 0
    image = shop / "images" / "7.png"
    good, workdir = image.read_bytes(), lab.folder / "run"
    command = lab.train(workdir, fields)
    command.until(lambda: command.steps())
    harm(image)
    status, said = command.wait(), command.sentence()
    _restore(image, good)
    again = lab.train(workdir, fields)
    same = again.wait() == 0 and end_of(workdir) == end_of(lab.folder / "whole")
    yield Try(name, status == 2 and "7.png" in said and same, f"{status}: {said} {same}", EVERY)


def _restore(image: Path, content: bytes) -> None:
    if image.is_dir():
        image.rmdir()
    image.write_bytes(content)


def _folder_instead(image: Path) -> None:
    image.unlink()
    image.mkdir()


DATA_UNDER_A_RUN: list[Fault] = [
    functools.partial(_harmed, name, harm)
    for name, harm in (
        ("deleted", Path.unlink),
        ("cut off", lambda image: os.truncate(image, image.stat().st_size // 2)),
        ("emptied", lambda image: os.truncate(image, 0)),
        ("a folder instead", _folder_instead),
    )
]


def _nan_image(lab: Lab) -> Iterator[Try]:
    """Trains on an image whose pixels are NaN."""
    shop = make_shop(lab.folder / "shop")
    pixels = np.full((40, 40), np.nan, np.float32)
    Image.fromarray(pixels).save(shop / "images" / "3.tiff")
    (shop / "images" / "3.tiff").rename(shop / "images" / "3.png")
    yield refused("an image of NaN", lab.train(lab.folder / "run", shop_fields(shop)), ["3.png"])


def _nan_loss(lab: Lab) -> Iterator[Try]:
    """Trains with a learning rate that makes every loss NaN."""
    command = lab.train(lab.folder / "run", {"learning_rate": 1e30})
    yield refused("a loss of NaN", command, ["finite"], status=1)


NOT_A_NUMBER: list[Fault] = [_nan_image, _nan_loss]


def _out_of_range(lab: Lab) -> Iterator[Try]:
    """Checks that labels missing from the fixed taxonomy, hostile ones among them, count as unknown."""

    def change(rows: Rows) -> None:
        rows[5][1:], rows[6][1:] = ["Spaceships", "999999999999"], ["-1", "nan"]

    shop = make_shop(lab.folder / "shop", change=change)
    (shop / "taxonomy.json").write_text(
        '{"levels": ["main", "sub"], "classes": {"main": ["Apparel", "Footwear"], "sub": ["Apparel/Dress", '
        '"Apparel/Topwear", "Footwear/Sandal", "Footwear/Shoes"]}, "parents": {"main": [], "sub": [0, 0, 1, 1]}}'
    )
    workdir = lab.folder / "run"
    command = lab.train(workdir, shop_fields(shop) | {"data.taxonomy": shop / "taxonomy.json"})
    status = command.wait()
    is_counted = status == 0 and "unknown" in (workdir / "data.json").read_text()
    yield Try("classes that no taxonomy has", is_counted, command.sentence() or "counted as unknown in data.json")


LABELS_OUT_OF_RANGE: list[Fault] = [_out_of_range]
