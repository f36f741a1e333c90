"""Labels that are probably wrong, by confident learning from out-of-sample probabilities."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fashion_jax.scoring.blocks import Table, picked, row_blocks
from fashion_jax.taxonomy import UNKNOWN, Taxonomy

COLUMNS = ("id", "level", "given", "suggested", "self_confidence", "margin", "rank", "suspected")

_MIN_PRECISION = 0.4  # of all that are counted to another class
_MIN_ANCHORS = 20  # images


@dataclasses.dataclass(frozen=True)
class LabelErrors:
    """Images of known labels, the most suspicious first.

    Attributes:
        images: int [n], their places.
        suggested: int [n], the likeliest of the other classes.
        self_confidence: [n], the probability of the given label.
        margin: [n], self_confidence less the probability of the suggested class.
        suspected: bool [n], whether the label is.
        counted: how many images confident learning counts to another class than their label.
        precision: the share of wrong labels, as estimated, among those suspected, or, where none is, among those
            counted; NaN where there are none.
    """

    images: np.ndarray
    suggested: np.ndarray
    self_confidence: np.ndarray
    margin: np.ndarray
    suspected: np.ndarray
    counted: int
    precision: float


def rank_label_errors(probs: Table, labels: np.ndarray) -> LabelErrors:
    """Confident learning (Northcutt et al. 2021), ranked by the probability of the given label ("self-confidence").

    A class's threshold is the mean probability that images labelled so have of it. An image is counted to the
    likeliest of the classes whose threshold it reaches; those counted to another than their label are suspected, that
    class being suggested, unless their label is the likeliest class of all; but no more than there seem to be wrong
    labels, the first of the ranking, and none where most seem to be errors of the model (see _noise).
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
    others, sureness = np.empty((2, len(images)))  # of the likeliest of the other classes, and of that counted to
    for places in row_blocks(len(images), probs.shape[1]):
        block, rows = np.asarray(probs[images[places]], np.float64), np.arange(len(places))
        confident = np.where(block >= thresholds, block, -np.inf)
        counted[places] = confident.argmax(1)
        sureness[places] = confident[rows, counted[places]]
        block[rows, labels[places]] = -np.inf
        suggested[places] = block.argmax(1)
        others[places] = block[rows, suggested[places]]
    margin = own - others
    moved = np.isfinite(sureness) & (counted != labels) & (margin < 0)
    suggested = np.where(moved, counted, suggested)
    order = np.argsort(own, kind="stable")
    suspected, precision = _suspected(moved[order], sureness[order], _noise(margin < 0, np.maximum(own, others)))
    columns = images, suggested, own, margin
    return LabelErrors(*(column[order] for column in columns), suspected, int(moved.sum()), precision)


def _noise(wrong: np.ndarray, confidence: np.ndarray) -> float:
    """The share of wrong labels, at most: that of the labels which contradict the model where it is surest.

    There it hardly errs (anchor points, Liu and Tao 2016). More contradictions than these are errors of the model.

    Args:
        wrong: bool [images], whether the likeliest class is another than the label.
        confidence: [images], its probability.
    """
    anchors = np.argsort(-confidence, kind="stable")[: max(len(wrong) // 10, _MIN_ANCHORS)]
    return (wrong[anchors].sum() + 1 / 2) / (len(anchors) + 1)  # 0 of a few is no proof of 0


def _suspected(moved: np.ndarray, sureness: np.ndarray, noise: float) -> tuple[np.ndarray, float]:
    """LabelErrors.suspected and precision: a suspicion is right no more often than the model says that it is.

    Args:
        moved: bool [images], whether they are counted to another class, the most suspicious first.
        sureness: [images], the probability of that class.
        noise: the share of wrong labels.
    """
    if not moved.any():
        return moved, math.nan
    wrong = noise * len(moved)
    suspected = moved & (moved.cumsum() <= math.ceil(wrong))
    at_best = min(wrong / moved.sum(), 1) * sureness[moved].mean()
    if at_best < _MIN_PRECISION:
        return np.zeros_like(moved), float(at_best)
    return suspected, float(sureness[suspected].mean())


def verdict(errors: LabelErrors) -> str:
    """How many labels are suspected, how sure that is, and why none is; a sentence for people."""
    if not errors.counted:
        return "no label is suspected."
    total, share = f"{len(errors.images):,}", f"{100 * errors.precision:.0f} %"
    if errors.suspected.any():
        count = f"{errors.suspected.sum():,} of {total} labels"
        return f"{count} are suspected; at best, an estimated {share} of these are wrong."
    return (
        f"no label is suspected: the model would count {errors.counted:,} of {total} images to another class than "
        f"their label, but errs too often for that (at best, an estimated {share} of these labels are wrong)."
    )


def rank_levels(
    probs: Mapping[str, Table], labels: Mapping[str, np.ndarray], taxonomy: Taxonomy
) -> dict[str, LabelErrors]:
    """Level -> rank_label_errors of it, of the levels with other classes to suggest."""
    return {
        level: rank_label_errors(probs[level], labels[level])
        for level, names in taxonomy.classes.items()
        if len(names) > 1
    }


def label_error_rows(
    ids: Sequence[str], errors: Mapping[str, LabelErrors], labels: Mapping[str, np.ndarray], taxonomy: Taxonomy
) -> list[list[Any]]:
    """A row of COLUMNS per image and level with a label, level by level from rank 1 on; suspected is 1 or 0.

    Args:
        ids: of the images.
        errors: those of rank_levels.
        labels: level -> int [images].
        taxonomy: of both.
    """
    rows = []
    for level, ranked in errors.items():
        names = taxonomy.classes[level]
        for rank, image in enumerate(ranked.images):
            confidence, margin = float(ranked.self_confidence[rank]), float(ranked.margin[rank])
            given, suggested = names[labels[level][image]], names[ranked.suggested[rank]]
            row = [ids[image], level, given, suggested, confidence, margin, rank + 1, int(ranked.suspected[rank])]
            rows.append(row)
    return rows
