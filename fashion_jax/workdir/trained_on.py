"""Compares the images of a split with those that a run has listed: its training and validation images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fashion_jax.data.dataset import Split
from fashion_jax.data.fingerprint import ImageList, count_common, read_images
from fashion_jax.workdir.files import read_json, read_taxonomy
from fashion_jax.workdir.paths import data_path, images_path
from fashion_jax.workdir.reading import reading


def count_trained_on(workdir: Path, split: Split) -> int:
    """Counts the images of a split that a run has listed as its training split; 0 without a list.

    Raises:
        UserError: data.json or taxonomy.json is missing or damaged.
    """
    images = _listed(workdir)
    if images is None:
        return 0
    train = slice(_num_training(workdir))
    return count_common(ImageList(images.ids[train], images.labels[train], images.contents[train]), split)


def has_files_of_validation(workdir: Path, split: Split) -> bool:
    """Returns whether the images of a split have the files of the run's validation images; True if these are not known.

    The ids must be those of the validation split.

    Raises:
        UserError: data.json or taxonomy.json is missing or damaged.
    """
    images = _listed(workdir)
    if images is None or split.content_digests is None:
        return True
    return np.array_equal(images.contents[_num_training(workdir) :], split.content_digests)


def _listed(workdir: Path) -> ImageList | None:
    """Returns the images of a run, training first; None without a list."""
    path = images_path(workdir)
    return read_images(path, len(read_taxonomy(workdir).levels)) if path.is_file() else None


def _num_training(workdir: Path) -> int:
    """Returns the number of training images, which the list begins with."""
    with reading(data_path(workdir)):
        return int(read_json(data_path(workdir))["splits"]["train"]["images"])
