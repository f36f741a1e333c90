"""Resamples the images of an epoch so that rare classes are seen more often."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ml_collections import ConfigDict

from fashion_jax.taxonomy import UNKNOWN

if TYPE_CHECKING:
    from fashion_jax.data.dataset import Split

_POWERS = {"class_balanced": 0.0, "square_root": 0.5}  # a class of n images is drawn in proportion to n ** power


def draw_chances(config: ConfigDict, split: Split) -> np.ndarray | None:
    """Returns the probability of each image in a draw, float [images]; None if config.rare_classes.draw names no level.

    "class_balanced" gives all classes of the level the same probability, "square_root" a probability in proportion to
    the square root of their number of images. An image whose label is UNKNOWN (-1) keeps the probability 1 / images.
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
