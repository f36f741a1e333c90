"""Reads the files of a work directory that describe a run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fashion_jax.atomic import read_text
from fashion_jax.errors import UserError
from fashion_jax.json_text import parse_json
from fashion_jax.taxonomy import Taxonomy
from fashion_jax.workdir.checkpoints.step_folders import has_step
from fashion_jax.workdir.paths import checkpoints_path, data_path, metrics_path, taxonomy_path
from fashion_jax.workdir.reading import reading


def has_checkpoint(workdir: Path) -> bool:
    """Returns whether a run has saved a checkpoint; quick, so that a command can ask before its heavy imports."""
    return has_step(checkpoints_path(workdir))


def has_trained_nothing(workdir: Path) -> bool:
    """Returns whether a run has neither a checkpoint nor a line of metrics, so that a start may change anything."""
    metrics = metrics_path(workdir)  # Path.is_file raises where a name is too long
    return not has_checkpoint(workdir) and not (os.path.isfile(metrics) and os.path.getsize(metrics))


def check_has_checkpoint(workdir: Path) -> None:
    """Checks that a run has saved a checkpoint, without heavy imports.

    Raises:
        UserError: it has not.
    """
    if not has_checkpoint(workdir):
        raise UserError(f"--workdir is {str(workdir)!r}, which holds no checkpoint: train a run there first.")


def read_json(path: Path) -> Any:
    """Reads a JSON file of a run.

    Raises:
        UserError: the file is missing or damaged.
    """
    with reading(path):
        return parse_json(read_text(path))


def train_counts(data: Mapping[str, Any], taxonomy: Taxonomy, split: str = "train") -> dict[str, np.ndarray]:
    """Returns the images of each class in the training split, or in another, from data.json: level -> int [classes]."""
    counts = data["splits"][split]["classes"]
    return {
        level: np.array([counts[level][name] for name in names], np.int64) for level, names in taxonomy.classes.items()
    }


def read_train_counts(workdir: Path, taxonomy: Taxonomy) -> dict[str, np.ndarray]:
    """Reads the run's training images of each class from its data.json: level -> int [classes].

    Raises:
        UserError: the file is missing or damaged.
    """
    path = data_path(workdir)
    with reading(path, "restore it, since its counts of training images are needed"):
        return train_counts(parse_json(read_text(path)), taxonomy)


def read_taxonomy(workdir: Path) -> Taxonomy:
    """Reads the classes of the run in workdir.

    Raises:
        UserError: the file is missing or damaged.
    """
    path = taxonomy_path(workdir)
    with reading(path):
        return Taxonomy.from_json(read_text(path), str(path), "restore it from a copy, or use another --workdir")
