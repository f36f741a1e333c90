"""Counts the images of a split that a run was trained on."""

from __future__ import annotations

from pathlib import Path

from fashion_jax.data.dataset import Split
from fashion_jax.data.fingerprint import ImageList, count_common, read_images
from fashion_jax.workdir.files import read_json
from fashion_jax.workdir.paths import data_path, images_path
from fashion_jax.workdir.reading import reading


def count_trained_on(workdir: Path, split: Split) -> int:
    """Counts the images of a split that a run has listed as its training split; 0 without a list.

    Raises:
        UserError: data.json is missing or damaged.
    """
    images = read_images(images_path(workdir), len(split.labels))
    if images is None:
        return 0
    with reading(data_path(workdir)):
        train = slice(int(read_json(data_path(workdir))["splits"]["train"]["images"]))  # they are listed first
    return count_common(ImageList(images.ids[train], images.labels[train], images.contents[train]), split)
