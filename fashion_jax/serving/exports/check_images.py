"""Finds images to compare an export with its run on: of the validation split, named by the user, or generated."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from fashion_jax.config.loading import image_shape
from fashion_jax.data.batches.chosen_images import decode_paths, decode_rows
from fashion_jax.data.batches.pipeline import canvas_shape
from fashion_jax.data.catalogue.generator import catalogue_folder
from fashion_jax.data.dataset import Split, load_split
from fashion_jax.data.sources.inputs import Inputs
from fashion_jax.data.strings import Strings
from fashion_jax.errors import UserError
from fashion_jax.taxonomy import Taxonomy
from fashion_jax.workdir.trained_on import count_trained_on

SPLIT = "validation"

_GENERATED = "generated"


@dataclasses.dataclass(frozen=True)
class CheckImages:
    """Images to compare an export on.

    Attributes:
        canvases: uint8 [n, height, width, 3].
        labels: level -> int [images of the validation split].
        kinds: where they come from, in words -> how many; those of the validation split come first.
        trained_on: how many of those of the validation split the run was trained on, as far as is known.
        why_not: why none is of the validation split; empty if some are, or if none of them can be decoded.
    """

    canvases: np.ndarray
    labels: Mapping[str, np.ndarray]
    kinds: Mapping[str, int]
    trained_on: int = 0
    why_not: str = ""

    @property
    def validation(self) -> np.ndarray:
        """Returns the canvases of the validation split."""
        return self.canvases[: len(next(iter(self.labels.values())))]

    @property
    def has_photos(self) -> bool:
        """Returns whether some are not generated."""
        return any(count for kind, count in self.kinds.items() if kind != _GENERATED)

    def words(self, indices: np.ndarray | None = None) -> str:
        """Says where the images at some indices come from; by default all."""
        kinds = np.repeat(list(self.kinds), list(self.kinds.values()))
        found = kinds if indices is None else kinds[indices]
        return " and ".join(f"{count:,} {kind}" for kind in self.kinds if (count := int((found == kind).sum())))


def find_check_images(
    workdir: Path,
    config: ConfigDict,
    taxonomy: Taxonomy,
    count: int,
    paths: Sequence[str] = (),
    *,
    is_data_named: bool = False,
) -> CheckImages:
    """Finds `count` images, spread over the validation split.

    If there are too few, images of `paths` are added, then generated ones.

    Args:
        workdir: of the run.
        config: of the run, with overrides that say where its data is now.
        taxonomy: its classes.
        count: number of images.
        paths: files, folders and zips of the user, of --images.
        is_data_named: whether the user says where the data is, which must then be there.

    Raises:
        UserError: none of the paths exists, or none of their files can be decoded; or the data that the user names
            cannot be used.
    """
    resize, cache_dir = config.data.resize, config.data.cache_dir
    if paths and not Inputs(paths, cache_dir).any_exists:
        raise UserError(f"--images is {' '.join(paths)}, where there are no files: name images or their folder.")
    canvas = canvas_shape(config, image_shape(config))
    try:
        split = load_split(config, taxonomy, SPLIT)
    except UserError as error:
        if is_data_named:
            raise
        labels = {level: np.zeros(0, np.int32) for level in taxonomy.levels}
        images = CheckImages(np.zeros((0, *canvas, 3), np.uint8), labels, {}, why_not=str(error))
    else:
        images = _of_split(workdir, split, count, canvas, resize)
    for kind, files in (("of --images", _named(paths, cache_dir)), (_GENERATED, None)):
        missing = count - len(images.canvases)
        if files is None:
            files = _drawn(cache_dir, count) if missing else []
        _, canvases = decode_paths([files[i] for i in spread(len(files), missing)], canvas, resize)
        if len(canvases):
            joined = np.concatenate([images.canvases, canvases])
            images = dataclasses.replace(images, canvases=joined, kinds={**images.kinds, kind: len(canvases)})
        elif paths and missing and kind == "of --images":
            raise UserError(
                f"--images is {' '.join(paths)}, where no image can be decoded: name others, or leave it out."
            )
    return images


def _of_split(workdir: Path, split: Split, count: int, canvas: tuple[int, int], resize: str) -> CheckImages:
    """Returns at most `count` images, spread over the validation split."""
    rows = spread(len(split), count)
    found, canvases = decode_rows(split, rows.tolist(), canvas, resize)
    chosen = _chosen(split, rows[found])
    kinds = {f"of the {SPLIT} split": len(canvases)}
    return CheckImages(canvases, chosen.labels, kinds, count_trained_on(workdir, chosen))


def spread(size: int, count: int) -> np.ndarray:
    """Returns at most `count` indices below `size`, spread evenly."""
    return np.linspace(0, size - 1, min(size, count)).round().astype(int) if size and count else np.zeros(0, int)


def _chosen(split: Split, rows: np.ndarray) -> Split:
    """Returns some images of a split, to look them up in the list of a run."""
    return Split(
        ids=Strings(split.ids[row] for row in rows),
        files=Strings(),
        labels={level: labels[rows] for level, labels in split.labels.items()},
        content_digests=None if split.content_digests is None else split.content_digests[rows],
    )


def _named(paths: Sequence[str], cache_dir: str) -> list[str]:
    return [item.file for item in Inputs(paths, cache_dir) if not item.error]


def _drawn(cache_dir: str, count: int) -> list[str]:
    """Draws a generated catalogue; returns the files of its images."""
    folder = catalogue_folder(cache_dir, count, 0, 0.0)
    return sorted(str(path) for path in (folder / "images").iterdir())
