"""Probabilities that mean what they say: temperatures, diagrams of reliability and coverage, and saying "unsure"."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from fashion_jax.hierarchy import UNKNOWN, Taxonomy
from fashion_jax.scoring.decisions import finite

BINS = 15
UNSURE = "unsure"

_LOG_TEMPERATURES = (math.log(0.02), math.log(50.0))


def apply_temperature(log_probs: np.ndarray, temperature: float) -> np.ndarray:
    """float64 [images, classes]: log-softmax(log_probs / temperature), which is that of the logits too."""
    scaled = finite(log_probs) / temperature
    return scaled - np.logaddexp.reduce(scaled, axis=1, keepdims=True)


def apply_temperatures(log_probs: Mapping[str, np.ndarray], temperatures: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Level -> apply_temperature; 1 where a level has none."""
    return {level: apply_temperature(x, temperatures.get(level, 1.0)) for level, x in log_probs.items()}


def fit_temperature(log_probs: np.ndarray, labels: np.ndarray) -> float:
    """The temperature of the least mean negative log-likelihood (Guo et al. 2017), between 0.02 and 50.

    Args:
        log_probs: [images, classes].
        labels: int [images]; images whose label is UNKNOWN (-1) are left out. 1 where none is left, or where a
            log-probability is NaN.
    """
    from scipy.optimize import minimize_scalar

    known = labels != UNKNOWN
    log_probs, labels = finite(log_probs)[known], labels[known]
    if not len(labels) or np.isnan(log_probs).any():
        return 1.0
    shifted = log_probs - log_probs.max(1, keepdims=True)
    own = shifted[np.arange(len(labels)), labels].mean()

    def loss(log_temperature: float) -> float:
        inverse = math.exp(-log_temperature)
        return float(np.log(np.exp(shifted * inverse).sum(1)).mean() - own * inverse)

    return math.exp(minimize_scalar(loss, bounds=_LOG_TEMPERATURES, method="bounded", options={"xatol": 1e-6}).x)


def fit_temperatures(log_probs: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Level -> fit_temperature."""
    return {level: fit_temperature(x, labels[level]) for level, x in log_probs.items()}


def cross_fitted(log_probs: np.ndarray, labels: np.ndarray, folds: int = 5) -> np.ndarray:
    """Calibrated log-probabilities, each fold's by the temperature that the other folds' images have.

    What a calibration error of the images that the temperature was fitted on would be too good for.
    """
    calibrated = np.empty(log_probs.shape)
    fold = np.random.default_rng(0).permutation(len(labels)) % folds
    for k in range(folds):
        temperature = fit_temperature(log_probs[fold != k], labels[fold != k])
        calibrated[fold == k] = apply_temperature(log_probs[fold == k], temperature)
    return calibrated


def confidences(log_probs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the images with a known label: the probability of the likeliest class, and whether it is the label."""
    known = labels != UNKNOWN
    log_probs = np.asarray(log_probs, np.float64)[known]
    return np.exp(log_probs.max(1, initial=-math.inf)), log_probs.argmax(1) == labels[known]


def reliability(log_probs: np.ndarray, labels: np.ndarray, bins: int = BINS) -> dict[str, np.ndarray]:
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


def calibration_error(log_probs: np.ndarray, labels: np.ndarray, bins: int = BINS) -> float:
    """ECE: the mean over images of |accuracy - confidence| of their bin in reliability(); NaN of no images."""
    return confidence_error(*confidences(log_probs, labels), bins)


def confidence_error(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> float:
    """As calibration_error, of predictions' probabilities [images] and whether they are right, bool [images]."""
    diagram = _diagram(confidence, correct, bins)
    some = diagram["count"] > 0
    gaps = np.abs(diagram["accuracy"] - diagram["confidence"])[some]
    return float(np.average(gaps, weights=diagram["count"][some])) if some.any() else math.nan


def adaptive_calibration_error(log_probs: np.ndarray, labels: np.ndarray, bins: int = BINS) -> float:
    """As calibration_error, over bins of equally many images (Nguyen and O'Connor 2015)."""
    confidence, correct = confidences(log_probs, labels)
    if not len(confidence):
        return math.nan
    order = np.argsort(confidence, kind="stable")
    gaps = np.array_split(correct[order] - confidence[order], bins)
    return float(sum(abs(gap.sum()) for gap in gaps) / len(confidence))


def coverage_curve(log_probs: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
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
        decoded: Mapping[str, np.ndarray],
        candidates: Mapping[str, np.ndarray],
        labels: Mapping[str, np.ndarray],
        precision: float,
    ) -> Abstention:
        """Thresholds by which the answers at each level have this share of right ones on images such as these.

        From the finest level on, each level's is its threshold_for_precision over the images of known labels that no
        finer level answers: these are the ones that it will have to answer, and they are the hard ones.
        """
        thresholds = {}
        left = np.ones(len(next(iter(candidates.values()))), bool)
        for level in reversed([*candidates]):
            classes = candidates[level]
            probability = path_probabilities(decoded[level], classes)
            answerable = left & (classes != UNKNOWN)
            counted = answerable & (labels[level] != UNKNOWN)
            correct = classes[counted] == labels[level][counted]
            thresholds[level] = threshold_for_precision(probability[counted], correct, precision)
            left &= ~(answerable & (probability >= thresholds[level]))
        return cls(thresholds)

    def sure(
        self,
        decoded: Mapping[str, np.ndarray],
        candidates: Mapping[str, np.ndarray],
        taxonomy: Taxonomy,
        *,
        consistent: bool = True,
    ) -> dict[str, np.ndarray]:
        """The deepest candidate that is sure, and what stands above it.

        Args:
            decoded: level -> log-probabilities [images, classes].
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
            is_enough = path_probabilities(decoded[level], classes) >= self.thresholds[level]
            answered = left & (classes != UNKNOWN) & is_enough
            for above in taxonomy.levels[: depth + 1]:
                known = taxonomy.ancestors(above, of=level)[classes] if consistent else candidates[above]
                sure[above] = np.where(answered, known, sure[above])
            left &= ~answered
        return sure


def path_probabilities(log_probs: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """[images]: the probability of each image's class of a level, 0 where that is UNKNOWN (-1)."""
    return np.where(classes == UNKNOWN, 0.0, np.exp(log_probs[np.arange(len(classes)), classes]))


def answers(sure: Mapping[str, np.ndarray], taxonomy: Taxonomy) -> list[str]:
    """The deepest known class of each image by its name, or UNSURE."""
    names = [UNSURE] * len(sure[taxonomy.levels[0]])
    for level in taxonomy.levels:
        for i in np.flatnonzero(sure[level] != UNKNOWN):
            names[i] = taxonomy.classes[level][sure[level][i]]
    return names
