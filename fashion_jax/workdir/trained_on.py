"""Compares the images of a split with those that a run has listed.

The list holds the training images, then the validation images, then all images that earlier starts of the run have
trained on, if its data has changed since: the data of a run may gain and lose images between its starts.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from fashion_jax.data.dataset import Dataset, Split
from fashion_jax.data.fingerprint import (
    COMPARED,
    ImageList,
    combined,
    count_common,
    list_images,
    read_counts,
    read_digest,
    read_images,
)
from fashion_jax.workdir.checkpoints.step_folders import list_steps
from fashion_jax.workdir.files import has_checkpoint, read_json, read_taxonomy
from fashion_jax.workdir.paths import checkpoints_path, data_path, images_path
from fashion_jax.workdir.reading import reading
from fashion_jax.workdir.run_identity import read_environment


class Listed(NamedTuple):
    """The images that a run has listed.

    Attributes:
        train: the training images.
        validation: the validation images.
        earlier: images that starts with other data have trained on.
    """

    train: ImageList
    validation: ImageList
    earlier: ImageList


def read_listed(workdir: Path) -> Listed | None:
    """Reads the list of a run; returns None without a list that can be read.

    Raises:
        UserError: data.json or taxonomy.json is missing or damaged.
    """
    path = images_path(workdir)
    images = read_images(path, len(read_taxonomy(workdir).levels)) if path.is_file() else None
    if images is None:
        return None
    counts = read_counts(path)
    if not counts:  # of an earlier version
        with reading(data_path(workdir)):
            splits = read_json(data_path(workdir))["splits"]
            counts = [int(splits[name]["images"]) for name in COMPARED]
    rows = np.arange(len(images.ids))
    return Listed(*map(images.select, np.split(rows, np.cumsum(counts))))


def count_trained_on(workdir: Path, split: Split) -> int:
    """Counts the images of a split that a run has trained on and saved a step since, by its list; 0 without a list.

    Raises:
        UserError: data.json or taxonomy.json is missing or damaged.
    """
    listed = read_listed(workdir)
    return 0 if listed is None else count_common(_trained(workdir, listed), split)


def has_files_of_validation(workdir: Path, split: Split) -> bool:
    """Returns whether the images of a split have the files of the run's validation images; True if these are not known.

    The ids must be those of the validation split.

    Raises:
        UserError: data.json or taxonomy.json is missing or damaged.
    """
    listed = read_listed(workdir)
    if listed is None or split.content_digests is None:
        return True
    return np.array_equal(listed.validation.contents, split.content_digests)


def trained_earlier(workdir: Path, dataset: Dataset) -> ImageList | None:
    """Returns the images that a run has trained on at its starts with other data.

    Args:
        workdir: of the run.
        dataset: of the start that follows, whose images are not listed yet.

    Returns:
        None if the run has no checkpoint or no list.

    Raises:
        UserError: data.json or taxonomy.json is missing or damaged.
    """
    listed = read_listed(workdir) if has_checkpoint(workdir) else None
    if listed is None:
        return None
    is_same = read_digest(images_path(workdir)) == combined(dataset.digests)
    return listed.earlier if is_same else _trained(workdir, listed)


def images_to_list(workdir: Path, dataset: Dataset) -> ImageList:
    """Returns the list of a start: see the head of this module, and `trained_earlier`."""
    images, earlier = list_images(dataset.splits), trained_earlier(workdir, dataset)
    if earlier is None:
        return images
    _, first = np.unique(earlier.contents, return_index=True)
    return images.followed_by(earlier.select(first))


def _trained(workdir: Path, listed: Listed) -> ImageList:
    """Returns those of the listed images that the run has trained on."""
    return listed.train.followed_by(listed.earlier) if _has_trained_on_list(workdir) else listed.earlier


def _has_trained_on_list(workdir: Path) -> bool:
    """Returns whether a run has saved a step since it began with the data that it has listed.

    A start that was ended before its first step has listed its data, but has not trained on it. True if that is not
    known, as where the history of the starts is lost or of an earlier version.
    """
    starts, digest, steps = read_environment(workdir).get("starts", []), read_digest(images_path(workdir)), []
    for start in reversed(starts):
        if start.get("data", "") != digest:
            if "data" not in start:
                return True
            break
        steps.append(int(start["step"]))
    else:
        if not steps or steps[-1]:  # the run has not begun at the first step that is known
            return True
    return not steps or max(list_steps(checkpoints_path(workdir)), default=0) > min(steps)
