"""Makes a small shop's table and images to change, and shows how a command reads them."""

from __future__ import annotations

import csv
import json
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tests.faults.lab import Command, Lab

HEADER = ("id", "masterCategory", "subCategory")
LABELS = (("Apparel", "Topwear"), ("Apparel", "Dress"), ("Footwear", "Shoes"), ("Footwear", "Sandal"))
Rows = list[list[str]]


def make_shop(folder: Path, count: int = 64, change: Callable[[Rows], object] = lambda rows: None) -> Path:
    """Writes styles.csv, and an image of 24 x 24 pixels per row."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = [[str(i), *LABELS[i % len(LABELS)]] for i in range(count)]
    for name, *_ in rows:
        Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8)).save(folder / "images" / f"{name}.png")
    change(rows)
    write_rows(folder, rows)
    return folder


def write_rows(folder: Path, rows: Rows) -> None:
    with (folder / "styles.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEADER, *rows])


def read_rows(folder: Path) -> Rows:
    with (folder / "styles.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]


def shop_fields(shop: Path, **more: object) -> dict[str, object]:
    fields = {"data.source": "csv", "data.path": shop, "data.image": "images/{id}.png", "num_epochs": 2}
    return fields | {"data.max_bad_fraction": 0.0} | {field.replace("__", "."): value for field, value in more.items()}


class Look:
    """The result of load_dataset on a table or folder: id -> labels, or the reason for refusing it."""

    def __init__(self, lab: Lab, fields: dict[str, object], **options):
        flags = [f"--config.{field}={value}" for field, value in lab.with_fields(fields).items()]
        self.command = Command(lab, "tests.faults.look", flags, **options)
        self.status, self.said = self.command.wait(), self.command.sentence()
        found = json.loads(self.command.stdout()) if self.status == 0 else {}
        self.labels: dict[str, Sequence[str]] = found.get("labels", {})
        self.warnings: str = self.command.stderr() + found.get("warnings", "")
        self.left_out: str = json.dumps(found.get("left_out", {}), ensure_ascii=False)

    def label(self, name: str) -> tuple[str, ...] | None:
        """Returns the labels of an image, composed; None if it was left out."""
        found = {unicodedata.normalize("NFC", k): v for k, v in self.labels.items()}.get(name)
        return None if found is None else tuple(unicodedata.normalize("NFC", str(label)) for label in found)
