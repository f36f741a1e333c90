"""Clocks that jump, data that changes under a run, and data that was never good."""

from __future__ import annotations

import csv
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from tests.faults.lab import EVERY, Lab, Try, digests, lines

_CLOCK = """
import time
real, began = time.time, time.monotonic()
time.time = lambda: real() + (0 if time.monotonic() < began + {after} else {jump})
"""
_LABELS = (("Apparel", "Topwear"), ("Apparel", "Dress"), ("Footwear", "Shoes"))


def clock_jump(lab: Lab) -> Iterator[Try]:
    """The wall clock jumps by a day, back and forth, while the run saves."""
    for name, jump in (("back", -86400), ("forth", 86400)):
        workdir = lab.folder / f"clock_{name}"
        command, same = lab.finish(workdir, before=_CLOCK.format(after=18, jump=jump))
        yield Try(same, 0, f"{name}: {command.sentence() or 'went on'}")


def data_changes(lab: Lab) -> Iterator[Try]:
    """An image is deleted, or cut off, while the images are streamed; once it is back the run goes on."""
    shop = make_shop(lab.folder / "shop", 320)
    fields = shop_fields(shop)
    whole = lab.folder / "shop_whole"
    lab.run(whole, fields=fields).wait()
    image = shop / "images" / "7.png"
    good = image.read_bytes()
    for name, harm in (("deleted", image.unlink), ("cut off", lambda: os.truncate(image, len(good) // 2))):
        workdir = lab.folder / f"shop_{name.replace(' ', '_')}"
        command = lab.run(workdir, fields=fields)
        command.until(lambda c=command: c.steps())
        harm()
        status, said = command.wait(), command.sentence()
        image.write_bytes(good)
        again = lab.run(workdir, fields=fields)
        same = again.wait() == 0 and lines(workdir) == lines(whole)
        last = lines(whole)[-1]["step"]
        same &= digests(workdir, last) == digests(whole, last)
        yield Try(status == 2 and "7.png" in said and same, EVERY, f"{name}: {said}")


def not_a_number(lab: Lab) -> Iterator[Try]:
    """An image whose pixels are NaN; a learning rate that makes every loss NaN."""
    shop = make_shop(lab.folder / "nan_shop", 64)
    Image.fromarray(np.full((40, 40), np.nan, np.float32)).save(shop / "images" / "3.tiff")
    (shop / "images" / "3.tiff").rename(shop / "images" / "3.png")
    command = lab.run(lab.folder / "nan_image", fields=shop_fields(shop))
    status = command.wait()
    yield Try(status == 2 and "3.png" in command.sentence(), 0, command.sentence())
    command = lab.run(lab.folder / "nan_loss", fields={"learning_rate": 1e30})
    status = command.wait()
    yield Try(status == 1 and "is not finite from step" in command.sentence(), None, command.sentence())


def labels_out_of_range(lab: Lab) -> Iterator[Try]:
    """Labels that the fixed taxonomy does not have count as unknown; hostile names are escaped all the way."""
    shop = make_shop(lab.folder / "odd_shop", 64)
    taxonomy = shop / "taxonomy.json"
    taxonomy.write_text(
        '{"levels": ["main", "sub"], "classes": {"main": ["Apparel", "Footwear"], "sub": '
        '["Apparel/Dress", "Apparel/Topwear", "Footwear/Shoes"]}, "parents": {"main": [], "sub": [0, 0, 1]}}'
    )
    rows = list(csv.reader((shop / "styles.csv").open(newline="", encoding="utf-8")))
    rows[5][1:], rows[6][1:] = ["Spaceships", "999999999999"], ["-1", "nan"]
    with (shop / "styles.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    workdir = lab.folder / "odd_labels"
    command = lab.run(workdir, fields=shop_fields(shop) | {"data.taxonomy": taxonomy})
    status = command.wait()
    unknown = "unknown" in (workdir / "data.json").read_text() if status == 0 else False
    yield Try(status == 0 and unknown, 0, command.sentence() or "counted as unknown in data.json")


def zip_bomb(lab: Lab) -> Iterator[Try]:
    """A zip of a few hundred kilobytes that would become gigabytes."""
    bomb = lab.folder / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("styles.csv", "id,masterCategory,subCategory\n1,a,b\n")
        file.writestr("images/1.jpg", bytes(200 << 20))
    command = lab.run(lab.folder / "bombed", fields={"data.source": "csv", "data.path": bomb})
    status = command.wait()
    yield Try(status == 2 and "bomb.zip" in command.sentence(), 0, command.sentence())


def make_shop(folder: Path, count: int) -> Path:
    """styles.csv, and an image of 40 × 40 pixels per row."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    with (folder / "styles.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "masterCategory", "subCategory"))
        for i in range(count):
            writer.writerow((i, *_LABELS[i % len(_LABELS)]))
            pixels = rng.integers(0, 256, (40, 40, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "images" / f"{i}.png")
    return folder


def shop_fields(shop: Path) -> dict[str, object]:
    fields = {"data.source": "csv", "data.path": shop, "data.image": "images/{id}.png", "data.cache": "none"}
    return fields | {"checkpoint.every_steps": 3, "data.max_bad_fraction": 0.0}
