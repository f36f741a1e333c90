"""Finds labels that are probably wrong, by confident learning from out-of-sample probabilities."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fashion_jax.scoring.blocks import Table, picked, row_blocks
from fashion_jax.taxonomy import UNKNOWN, Taxonomy

COLUMNS = ("id", "level", "given", "suggested", "self_confidence", "margin", "rank", "suspected")

_MIN_PRECISION = 0.4  # least precision at which labels are suspected
_MIN_ANCHORS = 20  # least number of images to estimate the noise from


@dataclasses.dataclass(frozen=True)
class LabelErrors:
    """The images with a known label, the most suspicious first.

    Attributes:
        images: int [n], row indices of the images.
        suggested: int [n], the likeliest class other than the label.
        self_confidence: [n], the probability of the given label.
        margin: [n], self_confidence minus the probability of the suggested class.
        suspected: bool [n], whether the label is suspected to be wrong.
        counted: the number of images that confident learning counts to another class than their label.
        precision: the estimated share of wrong labels among those suspected, or, if none is, among those counted; NaN
            if there are none.
    """

    images: np.ndarray
    suggested: np.ndarray
    self_confidence: np.ndarray
    margin: np.ndarray
    suspected: np.ndarray
    counted: int
    precision: float


def rank_label_errors(probs: Table, labels: np.ndarray) -> LabelErrors:
    """Ranks labels by confident learning (Northcutt et al. 2021), lowest probability of the given label first.

    The threshold of a class is the mean probability that the images with its label give it. An image is counted to the
    likeliest class whose threshold it reaches. Images counted to another class than their label are suspected, and that
    class is suggested, unless their label is the likeliest class of all. At most as many are suspected as labels are
    estimated to be wrong, and none if most contradictions seem to be errors of the model (see _noise).
    Ranking by margin would be worse: an image that surely is one of two classes would come before one that surely is
    not its label.

    Args:
        probs: [images, classes], each image's from a model that was not trained on it.
        labels: int [images]; images whose label is UNKNOWN (-1) are left out.
    """
    images = np.flatnonzero(labels != UNKNOWN)
    own, labels = picked(probs, labels)[images], labels[images]
    counts = np.bincount(labels, minlength=probs.shape[1])
    # a class without images gets no threshold, so nothing is counted to it
    thresholds = np.where(counts > 0, np.bincount(labels, own, len(counts)) / np.maximum(counts, 1), np.inf)
    suggested, counted = np.empty((2, len(images)), int)
    others, sureness = np.empty((2, len(images)))  # probabilities of suggested and counted
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
    return LabelErrors(
        images[order], suggested[order], own[order], margin[order], suspected, int(moved.sum()), precision
    )


def _noise(wrong: np.ndarray, confidence: np.ndarray) -> float:
    """Estimates an upper bound of the share of wrong labels: the share that contradict the model where it is surest.

    The model hardly errs there (anchor points, Liu and Tao 2016). Further contradictions are errors of the model.

    Args:
        wrong: bool [images], whether the likeliest class is not the label.
        confidence: [images], its probability.
    """
    anchors = np.argsort(-confidence, kind="stable")[: max(len(wrong) // 10, _MIN_ANCHORS)]
    return (wrong[anchors].sum() + 1 / 2) / (len(anchors) + 1)  # none among a few does not prove that there are none


def _suspected(moved: np.ndarray, sureness: np.ndarray, noise: float) -> tuple[np.ndarray, float]:
    """Computes LabelErrors.suspected and precision; a suspicion is right no more often than the model says.

    Args:
        moved: bool [images], whether an image is counted to another class; the most suspicious first.
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
    """Says how many labels are suspected and what share of them is estimated to be wrong, or why none is."""
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
    """Applies `rank_label_errors` to each level that has at least two classes."""
    return {
        level: rank_label_errors(probs[level], labels[level])
        for level, names in taxonomy.classes.items()
        if len(names) > 1
    }


def label_error_rows(
    ids: Sequence[str], errors: Mapping[str, LabelErrors], labels: Mapping[str, np.ndarray], taxonomy: Taxonomy
) -> Iterator[list[Any]]:
    """Yields a row of COLUMNS per image and level with a label, level by level from rank 1 on; suspected is 1 or 0.

    Args:
        ids: of the images, [images].
        errors: the result of `rank_levels`.
        labels: level -> int [images].
        taxonomy: the classes of both.
    """
    for level, ranked in errors.items():
        names = taxonomy.classes[level]
        for rank, image in enumerate(ranked.images):
            confidence, margin = float(ranked.self_confidence[rank]), float(ranked.margin[rank])
            given, suggested = names[labels[level][image]], names[ranked.suggested[rank]]
            yield [ids[image], level, given, suggested, confidence, margin, rank + 1, int(ranked.suspected[rank])]
