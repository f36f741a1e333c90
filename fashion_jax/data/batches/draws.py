"""Resamples the images of an epoch so that rare classes are seen more often."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from fashion_jax.taxonomy import UNKNOWN

if TYPE_CHECKING:
    from fashion_jax.data.dataset import Split

_POWERS = {"class_balanced": 0.0, "square_root": 0.5}  # a class of n images is drawn in proportion to n ** power


def draw_chances(draw: Mapping[str, str], split: Split) -> np.ndarray | None:
    """Returns the probability of each image in a draw, float [images]; None if `draw` names no level.

    "class_balanced" gives all classes of the level the same probability, "square_root" a probability in proportion to
    the square root of their number of images. An image whose label is UNKNOWN (-1) keeps the probability 1 / images.

    Args:
        draw: config.rare_classes.draw, level -> class_balanced or square_root, of at most one level.
        split: the training split.
    """
    for level, kind in draw.items():
        labels = split.labels[level]
        known = labels != UNKNOWN
        weights = np.maximum(np.bincount(labels[known]), 1) ** (_POWERS[kind] - 1)
        chances = np.full(len(labels), 1 / len(labels))
        chances[known] = weights[labels[known]]
        chances[known] *= known.mean() / chances[known].sum()
        return chances
    return None
