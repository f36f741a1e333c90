"""The generated catalogue: the default dataset, which needs no download.

It is a folder like any table of products: `styles.csv` (columns id, masterCategory, subCategory) and
`images/{id}.jpg`. Image i and its label are a pure function of (seed, i).
"""

from __future__ import annotations

import contextlib
import csv
import functools
import itertools
import multiprocessing
import os
import signal
import sys
import threading
import types
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from fashion_jax.data.cache import make_once
from fashion_jax.data.catalogue.canvas import Canvas
from fashion_jax.data.catalogue.drawings import DRAWINGS
from fashion_jax.devices.host import cache_root, usable_processors

VERSION = 3  # of the generator; changes with the drawings, so that cached folders are never mixed up

CLASSES = {
    "Accessories": [
        "Bags",
        "Belts",
        "Brooches",
        "Earrings",
        "Eyewear",
        "Headwear",
        "Necklaces",
        "Scarves",
        "Socks",
        "Ties",
        "Wallets",
        "Watches",
    ],
    "Apparel": ["Bottomwear", "Dress", "Innerwear", "Loungewear and Nightwear", "Outerwear", "Saree", "Topwear"],
    "Footwear": ["Flip Flops", "Sandal", "Shoes"],
    "Personal Care": ["Fragrance", "Lips", "Nails"],
}

# The share of the k-th sub class is proportional to k ** -0.93: from 24 % down to 1.2 %, as uneven as in a real shop.
_BY_FREQUENCY = (
    "Topwear",
    "Shoes",
    "Bags",
    "Bottomwear",
    "Watches",
    "Innerwear",
    "Eyewear",
    "Sandal",
    "Earrings",
    "Dress",
    "Outerwear",
    "Belts",
    "Wallets",
    "Flip Flops",
    "Socks",
    "Fragrance",
    "Ties",
    "Headwear",
    "Lips",
    "Scarves",
    "Necklaces",
    "Loungewear and Nightwear",
    "Nails",
    "Brooches",
    "Saree",
)

_EXPONENT = 0.93

_MAIN = {sub: main for main, subs in CLASSES.items() for sub in subs}

_CHUNK = 250  # images per task of the pool; fewer than two chunks are not worth starting it


def draw(seed: int, i: int, label_noise: float = 0.0) -> tuple[np.ndarray, str, str]:
    """Draws image i of the catalogue of a seed (both at least 0); returns uint8 [80, 80, 3], main and sub class.

    With the probability label_noise the label is another sub class, all equally likely, with the main class of that
    one.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, i]))
    sub = _random_sub(rng)
    canvas = Canvas(rng)
    DRAWINGS[sub](canvas)
    label = _label(seed, i, sub, label_noise)
    return canvas.photograph(), _MAIN[label], label


def _label(seed: int, i: int, sub: str, label_noise: float) -> str:
    """Draws the label apart from the image, which stays the same at any noise."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, i], spawn_key=(1,)))
    return str(rng.choice([other for other in _MAIN if other != sub])) if rng.random() < label_noise else sub


def _random_sub(rng: np.random.Generator) -> str:
    share = np.arange(1, len(_BY_FREQUENCY) + 1) ** -_EXPONENT
    return _BY_FREQUENCY[rng.choice(len(share), p=share / share.sum())]


def write_catalogue(directory: Path, num_images: int, seed: int, label_noise: float = 0.0) -> None:
    """Writes images 0 to num_images - 1 and their table into directory, on all processors.

    Raises:
        OSError: directory cannot be written.
    """
    (directory / "images").mkdir(parents=True, exist_ok=True)
    chunks = [range(start, min(start + _CHUNK, num_images)) for start in range(0, num_images, _CHUNK)]
    write = functools.partial(_write_images, directory / "images", seed, label_noise)
    if len(chunks) < 2:
        labels = list(map(write, chunks))
    else:
        # Spawned, since JAX's threads do not survive a fork.
        workers = min(len(chunks), usable_processors())
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _end_with_parent) as pool:
            with _without_main():
                drawn = pool.map(write, chunks)
            labels = list(drawn)
    with (directory / "styles.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["id", "masterCategory", "subCategory"])
        table.writerows([i, *label] for i, label in enumerate(itertools.chain.from_iterable(labels)))


def catalogue_folder(cache_dir: str, num_images: int, seed: int, label_noise: float = 0.0) -> Path:
    """Returns the folder of a complete catalogue under cache_dir; writes it first if it is missing.

    Args:
        cache_dir: root of the cache; "" means fashion_jax in XDG_CACHE_HOME or ~/.cache.
        num_images: number of images.
        seed: of the generator, at least 0.
        label_noise: the probability of a wrong label.

    Raises:
        UserError, RunError: the folder cannot be written.
    """
    noise = f"-noise{label_noise!r}" if label_noise else ""
    folder = cache_root(cache_dir) / f"catalogue-v{VERSION}-{num_images}-{seed}{noise}"
    make_once(
        folder,
        lambda temporary: write_catalogue(temporary, num_images, seed, label_noise),
        lambda made: _is_complete(made, num_images),
        "set data.cache_dir to a folder with room that can be written",
    )
    return folder


def _is_complete(folder: Path, num_images: int) -> bool:
    """Whether the folder still has its table and all images; something may have cleaned the cache."""
    try:
        return (folder / "styles.csv").is_file() and len(os.listdir(folder / "images")) == num_images
    except OSError:
        return False


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Hides the program that runs from workers that start in the block, which would import it, and so run it again.

    A user's script that trains need not have `if __name__ == "__main__"`, then.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _end_with_parent() -> None:
    """Makes a worker ignore Ctrl-C, which its parent handles, and exit as soon as the parent has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None  # this is a worker
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _write_images(directory: Path, seed: int, label_noise: float, chunk: range) -> list[tuple[str, str]]:
    """Writes the images of a chunk and returns their labels, main and sub."""
    labels = []
    for i in chunk:
        image, main, sub = draw(seed, i, label_noise)
        Image.fromarray(image).save(directory / f"{i}.jpg", quality=92)
        labels.append((main, sub))
    return labels
