"""Measures calibration (reliability, coverage) and chooses the thresholds below which predict answers "unsure"."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from fashion_jax.scoring.blocks import Table, likeliest, picked
from fashion_jax.taxonomy import UNKNOWN, Taxonomy

BINS = 15
UNSURE = "unsure"


def confidences(log_probs: Table, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the probability of the likeliest class and whether it is correct, for the images with a known label."""
    known = labels != UNKNOWN
    values, classes = likeliest(log_probs)
    return np.exp(values[known]), classes[known] == labels[known]


def reliability(log_probs: Table, labels: np.ndarray, bins: int = BINS) -> dict[str, np.ndarray]:
    """Computes a reliability diagram over equal-width bins of the likeliest class's probability (Guo et al. 2017).

    Args:
        log_probs: [images, classes].
        labels: int [images]; images whose label is UNKNOWN (-1) are left out.
        bins: number of bins; each includes its upper edge.

    Returns:
        edges [bins + 1], count int [bins], and the mean confidence and accuracy [bins], which are NaN in empty bins.
    """
    return _diagram(*confidences(log_probs, labels), bins)


def _diagram(confidence: np.ndarray, correct: np.ndarray, bins: int) -> dict[str, np.ndarray]:
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    some = np.where(count > 0, count, np.nan)
    return {
        "edges": edges,
        "count": count,
        "confidence": np.bincount(place, confidence, minlength=bins) / some,
        "accuracy": np.bincount(place, correct, minlength=bins) / some,
    }


def calibration_error(log_probs: Table, labels: np.ndarray) -> float:
    """Computes the ECE, the mean over images of |accuracy - confidence| of their bin in `reliability`.

    It is NaN without images.
    """
    return confidence_error(*confidences(log_probs, labels))


def confidence_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Computes the ECE from predictions' probabilities [images] and whether they are correct, bool [images]."""
    diagram = _diagram(confidence, correct, BINS)
    some = diagram["count"] > 0
    gaps = np.abs(diagram["accuracy"] - diagram["confidence"])[some]
    return float(np.average(gaps, weights=diagram["count"][some])) if some.any() else math.nan


def adaptive_calibration_error(log_probs: Table, labels: np.ndarray) -> float:
    """Computes the calibration error over bins of equally many images (Nguyen and O'Connor 2015)."""
    confidence, correct = confidences(log_probs, labels)
    if not len(confidence):
        return math.nan
    order = np.argsort(confidence, kind="stable")
    gaps = np.array_split(correct[order] - confidence[order], BINS)
    return float(sum(abs(gap.sum()) for gap in gaps) / len(confidence))


def coverage_curve(log_probs: Table, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Computes coverage against accuracy when only images above a confidence threshold are answered.

    The arguments are those of `reliability`.

    Returns:
        threshold, coverage and accuracy, each [points]: one point per distinct confidence, the highest first.
    """
    return _coverage(*confidences(log_probs, labels))


def _coverage(confidence: np.ndarray, correct: np.ndarray) -> dict[str, np.ndarray]:
    order = np.argsort(-confidence, kind="stable")
    confidence, correct = confidence[order], correct[order]
    last = np.flatnonzero(np.diff(confidence, append=-math.inf))  # images of equal confidence are answered together
    count = last + 1
    return {
        "threshold": confidence[last],
        "coverage": count / max(len(confidence), 1),
        "accuracy": correct.cumsum()[last] / count,
    }


def threshold_for_precision(confidence: np.ndarray, correct: np.ndarray, precision: float) -> float:
    """Returns the lowest confidence threshold at which the answers reach a precision; infinity if none does.

    Args:
        confidence: [images], of the predicted class.
        correct: bool [images].
        precision: the precision to reach, from 0 to 1.
    """
    curve = _coverage(confidence, correct)
    good = np.flatnonzero(curve["accuracy"] >= precision)
    return float(curve["threshold"][good[-1]]) if len(good) else math.inf


@dataclasses.dataclass(frozen=True)
class Abstention:
    """Answers with the deepest level whose probability reaches its threshold, or with none.

    Attributes:
        thresholds: level -> lowest probability that is answered.
    """

    thresholds: Mapping[str, float]

    @classmethod
    def of_probability(cls, taxonomy: Taxonomy, probability: float) -> Abstention:
        """Uses one threshold for all levels."""
        return cls(dict.fromkeys(taxonomy.levels, probability))

    @classmethod
    def of_precision(
        cls,
        probabilities: Mapping[str, np.ndarray],
        candidates: Mapping[str, np.ndarray],
        labels: Mapping[str, np.ndarray],
        precision: float,
        taxonomy: Taxonomy,
    ) -> Abstention:
        """Chooses thresholds at which the answers of each level reach a precision on images such as these.

        Levels are handled from the finest up. Each level's threshold is fitted on the images that no finer level
        answers: these are the ones it will have to answer, and they are the hard ones. If finer levels answer all, it
        is fitted on all.

        Args:
            probabilities: level -> [images], of the candidates.
            candidates: level -> int [images], the class that would be answered, UNKNOWN (-1) for none.
            labels: level -> int [images]. An answer is wrong too if only a coarser label is known, and is another
                class than the answer's ancestor.
            precision: the precision to reach, from 0 to 1.
            taxonomy: the classes.
        """
        thresholds = {}
        left = np.ones(len(next(iter(candidates.values()))), bool)
        for level in reversed([*candidates]):
            classes = candidates[level]
            probability = probabilities[level]
            answerable = left & (classes != UNKNOWN)
            is_known = (labels[level] != UNKNOWN) | _contradict(level, classes, labels, taxonomy)
            counted = answerable & is_known
            if not counted.any():
                counted = (classes != UNKNOWN) & is_known
            correct = classes[counted] == labels[level][counted]
            thresholds[level] = threshold_for_precision(probability[counted], correct, precision)
            left &= ~(answerable & (probability >= thresholds[level]))
        return cls(thresholds)

    def sure(
        self,
        probabilities: Mapping[str, np.ndarray],
        candidates: Mapping[str, np.ndarray],
        taxonomy: Taxonomy,
        *,
        consistent: bool = True,
    ) -> dict[str, np.ndarray]:
        """Returns the deepest candidate that reaches its threshold, with the classes above it.

        Args:
            probabilities: level -> [images], of the candidates.
            candidates: level -> int [images], the class that would be answered, UNKNOWN (-1) for none.
            taxonomy: the classes of both.
            consistent: whether the levels above an answer show its ancestors; otherwise they show their own candidates.

        Returns:
            Level -> int [images]: the classes down to the answer, UNKNOWN (-1) below.
        """
        left = np.ones(len(candidates[taxonomy.levels[0]]), bool)
        sure = {level: np.full(len(left), UNKNOWN) for level in taxonomy.levels}
        for depth in reversed(range(len(taxonomy.levels))):
            level = taxonomy.levels[depth]
            classes = candidates[level]
            is_enough = probabilities[level] >= self.thresholds[level]
            answered = left & (classes != UNKNOWN) & is_enough
            for above in taxonomy.levels[: depth + 1]:
                known = taxonomy.ancestors(above, of=level)[classes] if consistent else candidates[above]
                sure[above] = np.where(answered, known, sure[above])
            left &= ~answered
        return sure


def _contradict(level: str, classes: np.ndarray, labels: Mapping[str, np.ndarray], taxonomy: Taxonomy) -> np.ndarray:
    """Returns bool [images]: whether a coarser level has a label that is no ancestor of the class at a level."""
    found = np.zeros(len(classes), bool)
    for above in taxonomy.levels[: taxonomy.levels.index(level)]:
        ancestors = taxonomy.ancestors(above, of=level)[classes]  # of UNKNOWN, -1, those of the last class
        found |= (classes != UNKNOWN) & (labels[above] != UNKNOWN) & (labels[above] != ancestors)
    return found


def path_probabilities(log_probs: Table, classes: np.ndarray) -> np.ndarray:
    """Returns the probability of each image's class at a level, [images]; 0 where the class is UNKNOWN (-1)."""
    return np.where(classes == UNKNOWN, 0.0, np.exp(picked(log_probs, classes)))


def deepest(classes: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns the number of the deepest level, from 0, at which each image has a class; -1 if at none."""
    depths = np.full(len(next(iter(classes.values()))), -1)
    for depth, of_level in enumerate(classes.values()):
        depths[of_level != UNKNOWN] = depth
    return depths


def answers(sure: Mapping[str, np.ndarray], taxonomy: Taxonomy) -> list[str]:
    """Returns the name of each image's deepest known class, or UNSURE."""
    names = [UNSURE] * len(sure[taxonomy.levels[0]])
    for level in taxonomy.levels:
        for i in np.flatnonzero(sure[level] != UNKNOWN):
            names[i] = taxonomy.classes[level][sure[level][i]]
    return names
