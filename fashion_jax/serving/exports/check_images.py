"""Finds images to compare an export with its run on: of the validation split, named by the user, or generated."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from ml_collections import ConfigDict

from fashion_jax.config.loading import image_shape
from fashion_jax.data.batches.chosen_images import decode_paths, decode_rows
from fashion_jax.data.batches.pipeline import canvas_shape
from fashion_jax.data.catalogue.generator import catalogue_folder
from fashion_jax.data.dataset import Split, load_split
from fashion_jax.data.sources.inputs import Inputs
from fashion_jax.errors import UserError
from fashion_jax.taxonomy import Taxonomy

SPLIT = "validation"


@dataclasses.dataclass(frozen=True)
class CheckImages:
    """Images to compare an export on.

    Attributes:
        canvases: uint8 [n, height, width, 3]; those of the validation split come first.
        labels: level -> int [images of the validation split].
        words: where they come from.
        why_not: why they are not of the validation split; empty if some are.
    """

    canvases: np.ndarray
    labels: Mapping[str, np.ndarray]
    words: str
    why_not: str = ""

    @property
    def validation(self) -> np.ndarray:
        """Returns the canvases of the validation split."""
        return self.canvases[: len(next(iter(self.labels.values())))]


def find_check_images(config: ConfigDict, taxonomy: Taxonomy, count: int, paths: Sequence[str] = ()) -> CheckImages:
    """Finds `count` images, spread over the validation split.

    If there are too few, images of `paths` are added, then generated ones.

    Args:
        config: of the run, with overrides that say where its data is now.
        taxonomy: its classes.
        count: number of images.
        paths: files, folders and zips of the user, of --images.

    Raises:
        UserError: none of the paths exists, or none of their files can be decoded.
    """
    resize, cache_dir, why_not = config.data.resize, config.data.cache_dir, ""
    if paths and not Inputs(paths, cache_dir).any_exists:
        raise UserError(f"--images is {' '.join(paths)}, where there are no files: name images or their folder.")
    canvas = canvas_shape(config, image_shape(config))
    parts, words = [np.zeros((0, *canvas, 3), np.uint8)], []
    labels = {level: np.zeros(0, np.int32) for level in taxonomy.levels}
    try:
        split = load_split(config, taxonomy, SPLIT)
    except UserError as error:
        why_not = str(error)
    else:
        rows = spread(len(split), count)
        found, canvases = decode_rows(split, rows.tolist(), canvas, resize)
        parts.append(canvases)
        labels = _labels(split, rows[found])
        words.append(f"{len(canvases):,} of the {SPLIT} split")
    for name, files in (("of --images", _named(paths, cache_dir)), ("generated", None)):
        missing = count - sum(map(len, parts))
        if files is None:
            files = _drawn(cache_dir, count) if missing else []
        _, canvases = decode_paths([files[i] for i in spread(len(files), missing)], canvas, resize)
        if len(canvases):
            parts.append(canvases)
            words.append(f"{len(canvases):,} {name}")
        elif paths and missing and name == "of --images":
            raise UserError(
                f"--images is {' '.join(paths)}, where no image can be decoded: name others, or leave it out."
            )
    return CheckImages(np.concatenate(parts), labels, " and ".join(words), why_not)


def spread(size: int, count: int) -> np.ndarray:
    """Returns at most `count` indices below `size`, spread evenly."""
    return np.linspace(0, size - 1, min(size, count)).round().astype(int) if size and count else np.zeros(0, int)


def _labels(split: Split, rows: np.ndarray) -> dict[str, np.ndarray]:
    return {level: labels[rows] for level, labels in split.labels.items()}


def _named(paths: Sequence[str], cache_dir: str) -> list[str]:
    return [item.file for item in Inputs(paths, cache_dir) if not item.error]


def _drawn(cache_dir: str, count: int) -> list[str]:
    """Draws a generated catalogue; returns the files of its images."""
    folder = catalogue_folder(cache_dir, count, 0, 0.0)
    return sorted(str(path) for path in (folder / "images").iterdir())
