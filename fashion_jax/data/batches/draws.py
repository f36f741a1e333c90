"""The images of an epoch drawn with other chances than one each, so that rare classes are seen more often."""

from __future__ import annotations

import numpy as np
from ml_collections import ConfigDict

from fashion_jax.data.dataset import Split
from fashion_jax.taxonomy import UNKNOWN

_POWERS = {"class_balanced": 0.0, "square_root": 0.5}  # of n: a class's chance; an image's is 1/n of it


def draw_chances(config: ConfigDict, split: Split) -> np.ndarray | None:
    """The chance [images] of each image in a draw, None where config.rare_classes.draw names no level.

    class_balanced gives all classes of the level the same chance, square_root in proportion to the root of their
    images. An image whose label is UNKNOWN (-1) keeps the chance that it has in a plain order.
    """
    for level, kind in config.rare_classes.draw.items():
        labels = split.labels[level]
        known = labels != UNKNOWN
        weights = np.maximum(np.bincount(labels[known]), 1) ** (_POWERS[kind] - 1)
        chances = np.full(len(labels), 1 / len(labels))
        chances[known] = weights[labels[known]]
        chances[known] *= known.mean() / chances[known].sum()
        return chances
    return None
