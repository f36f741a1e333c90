"""Labels that are probably wrong, by confident learning from out-of-sample probabilities."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fashion_jax.hierarchy import UNKNOWN, Taxonomy
from fashion_jax.scoring.blocks import Table, picked, row_blocks

COLUMNS = ("id", "level", "given", "suggested", "self_confidence", "margin", "rank", "suspected")


@dataclasses.dataclass(frozen=True)
class LabelErrors:
    """Images of known labels, the most suspicious first.

    Attributes:
        images: int [n], their places.
        suggested: int [n], the likeliest of the other classes.
        self_confidence: [n], the probability of the given label.
        margin: [n], self_confidence less the probability of the suggested class.
        suspected: bool [n], whether confident learning counts the image to another class than its label.
    """

    images: np.ndarray
    suggested: np.ndarray
    self_confidence: np.ndarray
    margin: np.ndarray
    suspected: np.ndarray


def rank_label_errors(probs: Table, labels: np.ndarray) -> LabelErrors:
    """Confident learning (Northcutt et al. 2021), ranked by the probability of the given label ("self-confidence").

    A class's threshold is the mean probability that images labelled so have of it. An image is counted to the
    likeliest of the classes whose threshold it reaches; those counted to another than their label are suspected, that
    class being suggested, unless their label is the likeliest class of all.
    Ranking by the margin instead, the suspected ones first, puts an image that is sure to be either of two classes
    before one that is sure not to be what its label says.

    Args:
        probs: [images, classes], each image's from a model that was not trained on it.
        labels: int [images]; images whose label is UNKNOWN (-1) are left out.
    """
    images = np.flatnonzero(labels != UNKNOWN)
    own, labels = picked(probs, labels)[images], labels[images]
    counts = np.bincount(labels, minlength=probs.shape[1])
    # a class without images has no threshold, and nothing is counted to it
    thresholds = np.where(counts > 0, np.bincount(labels, own, len(counts)) / np.maximum(counts, 1), np.inf)
    suggested, counted = np.empty((2, len(images)), int)
    others, is_counted = np.empty(len(images)), np.empty(len(images), bool)
    for places in row_blocks(len(images), probs.shape[1]):
        block, rows = np.asarray(probs[images[places]], np.float64), np.arange(len(places))
        confident = np.where(block >= thresholds, block, -np.inf)
        counted[places] = confident.argmax(1)
        is_counted[places] = np.isfinite(confident[rows, counted[places]])
        block[rows, labels[places]] = -np.inf
        suggested[places] = block.argmax(1)
        others[places] = block[rows, suggested[places]]
    margin = own - others
    suspected = is_counted & (counted != labels) & (margin < 0)
    suggested = np.where(suspected, counted, suggested)
    order = np.argsort(own, kind="stable")
    columns = images, suggested, own, margin, suspected
    return LabelErrors(*(column[order] for column in columns))


def label_error_rows(
    ids: Sequence[str], probs: Mapping[str, Table], labels: Mapping[str, np.ndarray], taxonomy: Taxonomy
) -> list[list[Any]]:
    """A row of COLUMNS per image and level with a label, level by level from rank 1 on; suspected is 1 or 0.

    Args:
        ids: of the images.
        probs: level -> [images, classes], as in rank_label_errors.
        labels: level -> int [images].
        taxonomy: of both.
    """
    rows = []
    for level, names in taxonomy.classes.items():
        if len(names) == 1:
            continue  # nothing else to suggest
        ranked = rank_label_errors(probs[level], labels[level])
        for rank, image in enumerate(ranked.images):
            confidence, margin = float(ranked.self_confidence[rank]), float(ranked.margin[rank])
            given, suggested = names[labels[level][image]], names[ranked.suggested[rank]]
            row = [ids[image], level, given, suggested, confidence, margin, rank + 1, int(ranked.suspected[rank])]
            rows.append(row)
    return rows
