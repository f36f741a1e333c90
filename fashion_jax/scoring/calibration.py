"""Whether probabilities mean what they say: diagrams of reliability and coverage, and saying "unsure"."""

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
    """Of the images with a known label: the probability of the likeliest class, and whether it is the label."""
    known = labels != UNKNOWN
    values, classes = likeliest(log_probs)
    return np.exp(values[known]), classes[known] == labels[known]


def reliability(log_probs: Table, labels: np.ndarray, bins: int = BINS) -> dict[str, np.ndarray]:
    """What a reliability diagram shows, over equal-width bins of the likeliest class's probability (Guo et al. 2017).

    Args:
        log_probs: [images, classes].
        labels: int [images]; images whose label is UNKNOWN (-1) are left out.
        bins: their number; each holds its upper edge.

    Returns:
        edges [bins + 1], count int [bins], and confidence and accuracy [bins], means that are NaN in empty bins.
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


def calibration_error(log_probs: Table, labels: np.ndarray, bins: int = BINS) -> float:
    """ECE: the mean over images of |accuracy - confidence| of their bin in reliability(); NaN of no images."""
    return confidence_error(*confidences(log_probs, labels), bins)


def confidence_error(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> float:
    """As calibration_error, of predictions' probabilities [images] and whether they are right, bool [images]."""
    diagram = _diagram(confidence, correct, bins)
    some = diagram["count"] > 0
    gaps = np.abs(diagram["accuracy"] - diagram["confidence"])[some]
    return float(np.average(gaps, weights=diagram["count"][some])) if some.any() else math.nan


def adaptive_calibration_error(log_probs: Table, labels: np.ndarray, bins: int = BINS) -> float:
    """As calibration_error, over bins of equally many images (Nguyen and O'Connor 2015)."""
    confidence, correct = confidences(log_probs, labels)
    if not len(confidence):
        return math.nan
    order = np.argsort(confidence, kind="stable")
    gaps = np.array_split(correct[order] - confidence[order], bins)
    return float(sum(abs(gap.sum()) for gap in gaps) / len(confidence))


def coverage_curve(log_probs: Table, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Coverage against accuracy where only the images above a threshold are answered.

    Args as in reliability().

    Returns:
        threshold, coverage and accuracy, each [points]: a point per distinct confidence, the surest first.
    """
    return _coverage(*confidences(log_probs, labels))


def _coverage(confidence: np.ndarray, correct: np.ndarray) -> dict[str, np.ndarray]:
    order = np.argsort(-confidence, kind="stable")
    confidence, correct = confidence[order], correct[order]
    last = np.flatnonzero(np.diff(confidence, append=-math.inf))  # images of one confidence are answered together
    count = last + 1
    return {
        "threshold": confidence[last],
        "coverage": count / max(len(confidence), 1),
        "accuracy": correct.cumsum()[last] / count,
    }


def threshold_for_precision(confidence: np.ndarray, correct: np.ndarray, precision: float) -> float:
    """The lowest threshold whose answers, those of at least it, have that share of right ones; infinity if none has.

    Args:
        confidence: [images], of the predicted class.
        correct: bool [images].
        precision: wanted, of 0 to 1.
    """
    curve = _coverage(confidence, correct)
    good = np.flatnonzero(curve["accuracy"] >= precision)
    return float(curve["threshold"][good[-1]]) if len(good) else math.inf


@dataclasses.dataclass(frozen=True)
class Abstention:
    """Answers only as finely as is sure: the deepest level whose probability reaches its threshold, or none.

    Attributes:
        thresholds: level -> least probability.
    """

    thresholds: Mapping[str, float]

    @classmethod
    def of_probability(cls, taxonomy: Taxonomy, probability: float) -> Abstention:
        """One threshold for all levels."""
        return cls(dict.fromkeys(taxonomy.levels, probability))

    @classmethod
    def of_precision(
        cls,
        probabilities: Mapping[str, np.ndarray],
        candidates: Mapping[str, np.ndarray],
        labels: Mapping[str, np.ndarray],
        precision: float,
    ) -> Abstention:
        """Thresholds by which the answers at each level have this share of right ones on images such as these.

        From the finest level on, each level's is its threshold_for_precision over the images of known labels that no
        finer level answers: these are the ones that it will have to answer, and they are the hard ones.

        Args:
            probabilities: level -> [images], those of the candidates.
            candidates: level -> int [images], what would be answered at it, UNKNOWN (-1) for nothing.
            labels: level -> int [images].
            precision: wanted, of 0 to 1.
        """
        thresholds = {}
        left = np.ones(len(next(iter(candidates.values()))), bool)
        for level in reversed([*candidates]):
            classes = candidates[level]
            probability = probabilities[level]
            answerable = left & (classes != UNKNOWN)
            counted = answerable & (labels[level] != UNKNOWN)
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
        """The deepest candidate that is sure, and what stands above it.

        Args:
            probabilities: level -> [images], those of the candidates.
            candidates: level -> int [images], what would be answered at it, UNKNOWN (-1) for nothing.
            taxonomy: of both.
            consistent: whether above an answer stand its parents; else the candidates of those levels.

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


def path_probabilities(log_probs: Table, classes: np.ndarray) -> np.ndarray:
    """[images]: the probability of each image's class of a level, 0 where that is UNKNOWN (-1)."""
    return np.where(classes == UNKNOWN, 0.0, np.exp(picked(log_probs, classes)))


def answers(sure: Mapping[str, np.ndarray], taxonomy: Taxonomy) -> list[str]:
    """The deepest known class of each image by its name, or UNSURE."""
    names = [UNSURE] * len(sure[taxonomy.levels[0]])
    for level in taxonomy.levels:
        for i in np.flatnonzero(sure[level] != UNKNOWN):
            names[i] = taxonomy.classes[level][sure[level][i]]
    return names
