"""A small folder of products, as the csv source reads it: a table, and an image per row."""

import csv
import io
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from configs import default
from fashion_jax.data.batches.image_stores import Images
from fashion_jax.data.batches.pipeline import train_batches
from fashion_jax.data.dataset import Split

HEADER = ("id", "masterCategory", "subCategory")
LABELS = (("Apparel", "Topwear"), ("Apparel", "Dress"), ("Footwear", "Shoes"))


def write_image(path: Path, size: tuple[int, int] = (6, 8), mode: str = "RGB", seed: int = 0) -> np.ndarray:
    """Writes noise of (height, width); returns its pixels."""
    channels = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, *channels), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def write_table(path: Path, rows: Sequence[Sequence[str]], header: Sequence[str] = HEADER) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def write_shop(folder: Path, rows: Sequence[Sequence[str]], header: Sequence[str] = HEADER) -> None:
    """Writes styles.csv, and an image for every row, each with different content: labels and splits need no more."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    write_table(folder / "styles.csv", rows, header)
    for row in rows:
        (folder / "images" / f"{row[0]}.jpg").write_bytes(smallest_image(row[0]))


def smallest_image(text: str) -> bytes:
    """Returns a grey JPEG of 8 x 8 pixels with a comment."""
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "JPEG", comment=text.encode())
    return buffer.getvalue()


def products(count: int, labels: Sequence[Sequence[str]] = LABELS) -> list[tuple[str, ...]]:
    """Returns rows with ascending ids, whose labels take turns."""
    return [(str(i), *labels[i % len(labels)]) for i in range(count)]


def shop_config(folder: Path, **data) -> ConfigDict:
    """Returns a config of the csv source in folder; further arguments are fields of its section data."""
    config = default.get_config()
    config.batch_size, config.image_size = 8, 32
    config.data.source, config.data.path = "csv", str(folder)
    config.data.cache_dir = f"{folder}.cache" if str(folder) else ""
    for field, value in data.items():
        config.data[field] = value
    return config


def batches_of_steps(
    split: Split, images: Images, config: ConfigDict, start: int, stop: int, rows: np.ndarray | None = None
) -> Iterator[dict[str, Any]]:
    """Yields the training batches of the steps from start to before stop, over as many epochs as needed."""
    config = config.copy_and_resolve_references()
    config.num_epochs = stop
    epoch, step = divmod(start, len(split) // config.batch_size)
    batches = train_batches(split, images, config, epoch, step * config.batch_size, rows)
    return itertools.islice(batches, stop - start)
