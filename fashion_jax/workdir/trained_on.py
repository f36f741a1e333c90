"""Compares the images of a split with those that a run has listed.

The list holds the training images, then the validation images, then those that only earlier starts of the run have
trained on: the data of a run may gain and lose images between its starts.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fashion_jax.data.dataset import Dataset, Split
from fashion_jax.data.fingerprint import ImageList, count_common, list_images, read_images
from fashion_jax.workdir.files import has_checkpoint, read_json, read_taxonomy
from fashion_jax.workdir.paths import data_path, images_path
from fashion_jax.workdir.reading import reading


def count_trained_on(workdir: Path, split: Split) -> int:
    """Counts the images of a split that a run has trained on, by its list; 0 without a list.

    Raises:
        UserError: data.json or taxonomy.json is missing or damaged.
    """
    images = _listed(workdir)
    return 0 if images is None else count_common(_trained(workdir, images), split)


def trained_earlier(workdir: Path, dataset: Dataset) -> ImageList | None:
    """Returns the images that a run has trained on so far and that are in its training split no more.

    Args:
        workdir: of the run.
        dataset: of the start that follows, whose images are not listed yet.

    Returns:
        None if the run has no checkpoint, or no list.

    Raises:
        UserError: data.json or taxonomy.json is missing or damaged.
    """
    images = _listed(workdir) if has_checkpoint(workdir) else None
    if images is None:
        return None
    trained, now = _trained(workdir, images), list_images(dataset.splits, ["train"])
    return trained.select(np.flatnonzero(~np.isin(trained.contents, now.contents)))


def images_to_list(workdir: Path, dataset: Dataset) -> ImageList:
    """Returns the list of a start: see the head of this module, and `trained_earlier`."""
    images, earlier = list_images(dataset.splits), trained_earlier(workdir, dataset)
    return images if earlier is None else images.followed_by(earlier)


def has_files_of_validation(workdir: Path, split: Split) -> bool:
    """Returns whether the images of a split have the files of the run's validation images; True if these are not known.

    The ids must be those of the validation split.

    Raises:
        UserError: data.json or taxonomy.json is missing or damaged.
    """
    images = _listed(workdir)
    if images is None or split.content_digests is None:
        return True
    _, validation = _listed_splits(workdir)
    return np.array_equal(images.contents[validation], split.content_digests)


def _listed(workdir: Path) -> ImageList | None:
    """Returns the images of a run, training first; None without a list."""
    path = images_path(workdir)
    return read_images(path, len(read_taxonomy(workdir).levels)) if path.is_file() else None


def _trained(workdir: Path, images: ImageList) -> ImageList:
    """Returns those of the listed images that the run has trained on."""
    _, validation = _listed_splits(workdir)
    return images.select(np.r_[: validation.start, validation.stop : len(images.ids)])


def _listed_splits(workdir: Path) -> tuple[slice, slice]:
    """Returns which of the listed images are the training split's, and which the validation split's."""
    with reading(data_path(workdir)):
        splits = read_json(data_path(workdir))["splits"]
        train, validation = (int(splits[name]["images"]) for name in ("train", "validation"))
    return slice(0, train), slice(train, train + validation)
