"""Leaves out classes with too few training images, or merges them into "Other" of the same parent."""

from __future__ import annotations

import dataclasses
from collections import defaultdict

import numpy as np

from fashion_jax.data.sources.table import LabelPaths, Labels, Table
from fashion_jax.data.splits import Assigned
from fashion_jax.letters import composed
from fashion_jax.taxonomy import Taxonomy, class_name

OTHER = "Other"


def merge_rare(table: Table, train: np.ndarray, num_levels: int, min_images: int) -> Table:
    """Returns the table with classes of fewer than `min_images` training images renamed to "Other" of their parents.

    `train` is int [n], the rows of the training images.
    """
    paths = table.paths
    for depth in range(1, num_levels + 1):
        counts = _training_counts(paths, train, depth)
        kept = {path for path, count in counts.items() if count >= min_images}
        distinct = [path if path[:depth] in kept else _merged(path, depth) for path in paths.distinct]
        paths = LabelPaths(distinct, paths.codes)
    return dataclasses.replace(table, paths=paths)


def merge_unknown(table: Table, taxonomy: Taxonomy) -> Table:
    """Returns the table with classes that a run has merged or never seen renamed to "Other" of their parents.

    They are renamed even where the run has dropped its "Other" as rare: their images were then dropped with it.
    """
    known, distinct = _known(taxonomy), table.paths.distinct
    for depth in range(1, len(taxonomy.levels) + 1):
        distinct = [path if class_name(path[:depth]) in known else _merged(path, depth) for path in distinct]
    return dataclasses.replace(table, paths=LabelPaths(distinct, table.paths.codes))


def drop_rare(
    table: Table, assigned: Assigned, num_levels: int, min_images: int, trained: Taxonomy | None = None
) -> tuple[Assigned, list[str]]:
    """Removes classes of fewer than `min_images` training images from all splits; returns these and the removed ids.

    Classes of the taxonomy `trained` stay: a run that has learnt them is measured on them, however few images of them
    are in the training split of other data.
    """
    dropped, kept = [], _known(trained) if trained else set()
    for depth in range(num_levels, 0, -1):
        counts = _training_counts(table.paths, assigned["train"], depth)
        rare = {path for path, count in counts.items() if count < min_images and class_name(path) not in kept}
        is_rare = np.array([path[:depth] in rare for path in table.paths.distinct], bool)
        gone = {split: is_rare[table.paths.codes[images]] for split, images in assigned.items()}
        dropped += [images[gone[split]] for split, images in assigned.items()]
        assigned = {split: images[~gone[split]] for split, images in assigned.items()}
    return assigned, list(table.ids.select(np.concatenate(dropped)))


def merged_counts(
    before: LabelPaths, after: LabelPaths, images: np.ndarray, taxonomy: Taxonomy
) -> dict[str, dict[str, int]]:
    """Counts what was merged: class with "Other" in its path -> original class -> number among `images` (int [n])."""
    classes = {name for names in taxonomy.classes.values() for name in names}
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    totals = np.bincount(before.codes[images], minlength=len(before.distinct))
    for old, new, total in zip(before.distinct, after.distinct, totals.tolist(), strict=True):
        if old != new and total and _name(new) in classes:
            counts[_name(new)][_name(old)] = total
    return {name: dict(sorted(counts[name].items())) for name in sorted(counts)}


def _merged(path: Labels, depth: int) -> Labels:
    """Replaces the label at `depth` by "Other", unless it or a label above it is unknown."""
    return (*path[: depth - 1], OTHER, *path[depth:]) if all(path[:depth]) else path


def _training_counts(paths: LabelPaths, train: np.ndarray, depth: int) -> dict[Labels, int]:
    """Returns class (a path of `depth` labels) -> number of training images, without those whose label is unknown."""
    counts: dict[Labels, int] = defaultdict(int)
    totals = np.bincount(paths.codes[train], minlength=len(paths.distinct))
    for path, total in zip(paths.distinct, totals.tolist(), strict=True):
        if total and all(path[:depth]):
            counts[path[:depth]] += total
    return counts


def _known(taxonomy: Taxonomy) -> set[str]:
    return {composed(name) for names in taxonomy.classes.values() for name in names}


def _name(path: Labels) -> str:
    return class_name([label for label in path if label])
