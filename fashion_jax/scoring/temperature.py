"""Fits temperatures, the factors that calibrate a level's log-probabilities, and applies them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fashion_jax.scoring.blocks import LazyRows, Result, map_blocks, row_blocks
from fashion_jax.scoring.tree_decoding import finite
from fashion_jax.taxonomy import UNKNOWN

_LOWEST, _HIGHEST = 0.02, 50.0  # bounds of the temperature
_SMALL_STEP = 1e-4  # in the log of the temperature
_MAX_STEPS = 50
_FOLDS = 5  # of cross-fitting


def apply_temperature(log_probs: np.ndarray, temperature: float) -> np.ndarray:
    """Returns log-softmax(log_probs / temperature), float64 [images, classes]; the same as for logits."""
    scaled = finite(log_probs) / temperature
    return scaled - np.logaddexp.reduce(scaled, axis=1, keepdims=True)


def apply_temperatures(log_probs: Mapping[str, np.ndarray], temperatures: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Applies each level's temperature, 1 where a level has none."""
    return {level: apply_temperature(x, temperatures.get(level, 1.0)) for level, x in log_probs.items()}


def calibrated(log_probs: np.ndarray, temperature: float | np.ndarray) -> LazyRows:
    """Applies temperatures lazily: like `apply_temperature`, but each row is computed when it is read.

    Args:
        log_probs: [images, classes].
        temperature: one for all images, or one per image, [images].
    """
    temperatures = np.broadcast_to(temperature, len(log_probs))[:, None]
    sums = np.empty((len(log_probs), 1))

    def add(rows: np.ndarray) -> None:
        sums[rows] = np.logaddexp.reduce(finite(log_probs[rows]) / temperatures[rows], axis=1, keepdims=True)

    map_blocks(add, row_blocks(*log_probs.shape))
    return LazyRows(log_probs.shape, lambda rows: finite(log_probs[rows]) / temperatures[rows] - sums[rows])


def calibrated_levels(log_probs: Mapping[str, np.ndarray], temperatures: Mapping[str, float]) -> dict[str, LazyRows]:
    """Applies each level's temperature lazily, 1 where a level has none."""
    return {level: calibrated(x, temperatures.get(level, 1.0)) for level, x in log_probs.items()}


def fit_temperature(log_probs: np.ndarray, labels: np.ndarray) -> float:
    """Fits the temperature of least mean negative log-likelihood (Guo et al. 2017), between 0.02 and 50.

    Of n images, a share of 1 / (n + 2) counts as being of the strongest other class, as in Platt's scaling (1999), so
    that a few images that are all right do not make every answer certain.

    Args:
        log_probs: [images, classes].
        labels: int [images]; images are left out whose label is UNKNOWN (-1), or whose label the model cannot predict
            at all, as it has a log-probability of -inf.

    Returns:
        The temperature; 1 if no image has a label, or if a log-probability is NaN.
    """
    from scipy.optimize import minimize_scalar

    scores = _Scores.of(log_probs, labels)
    if not scores.can_be_fitted:
        return 1.0
    own = scores.own.mean()

    def loss(log_temperature: float) -> float:
        inverse = math.exp(-log_temperature)
        sums = scores.map(lambda block: np.exp(block * inverse).sum(1))
        return float(np.log(np.concatenate(sums)).mean() - own * inverse)

    bounds = math.log(_LOWEST), math.log(_HIGHEST)
    return math.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6}).x)


def cross_fitted(log_probs: np.ndarray, labels: np.ndarray, temperature: float) -> LazyRows:
    """Calibrates log-probabilities by cross-fitting: each fold by the temperature fitted on the other folds.

    A calibration error on the images that the temperature was fitted on would be too optimistic.

    Args:
        log_probs: [images, classes].
        labels: int [images].
        temperature: fitted on all images; the fit of each fold starts from it.
    """
    fold = np.random.default_rng(0).permutation(len(labels)) % _FOLDS
    scores = _Scores.of(log_probs, labels)
    at_first = scores.derivatives(1 / temperature)
    temperatures = np.empty(_FOLDS)
    for k in range(_FOLDS):
        others = fold[scores.images] != k
        part = _Scores(log_probs, scores.images[others], scores.tops[others], scores.own[others])
        first = [values[others] for values in at_first]
        temperatures[k] = _refined(part, temperature, first) if part.can_be_fitted else 1.0
    return calibrated(log_probs, temperatures[fold])


class _Scores(NamedTuple):
    """Log-probabilities of the images with a known label, relative to each image's likeliest class.

    Attributes:
        log_probs: [all images, classes].
        images: int [images], the rows that count.
        tops: [images], the log-probability of the likeliest class, which is subtracted.
        own: [images], the relative log-probability of the image's label, mixed with that of the strongest other class.
    """

    log_probs: np.ndarray
    images: np.ndarray
    tops: np.ndarray
    own: np.ndarray

    @classmethod
    def of(cls, log_probs: np.ndarray, labels: np.ndarray) -> _Scores:
        images = np.flatnonzero(labels != UNKNOWN)
        images = images[~np.isneginf(log_probs[images, labels[images]])]
        if not len(images):
            return cls(log_probs, images, np.zeros(0), np.zeros(0))

        def values(places: np.ndarray) -> np.ndarray:
            block, label = np.array(log_probs[images[places]], np.float64), labels[images[places]]
            every = np.arange(len(block))
            own = block[every, label]
            block[every, label] = -np.inf
            other = block.max(1)
            return np.stack([np.maximum(own, other), own, np.where(np.isneginf(other), own, other)])

        tops, own, other = np.concatenate(map_blocks(values, row_blocks(len(images), log_probs.shape[1])), axis=1)
        return cls(log_probs, images, tops, own + (other - own) / (len(images) + 2) - tops)

    @property
    def can_be_fitted(self) -> bool:
        return len(self.images) > 0 and not np.isnan(self.tops).any()

    def map(self, function: Callable[[np.ndarray], Result]) -> list[Result]:
        """Applies a function to blocks of the relative log-probabilities, float64 [some, classes]."""
        return map_blocks(
            lambda places: function(finite(self.log_probs[self.images[places]]) - self.tops[places, None]),
            row_blocks(len(self.images), self.log_probs.shape[1]),
        )

    def derivatives(self, inverse: float) -> tuple[np.ndarray, np.ndarray]:
        """Returns the first and second derivative of each image's log-likelihood loss by the inverse temperature."""

        def moments(block: np.ndarray) -> np.ndarray:
            weights = np.exp(block * inverse)
            total = weights.sum(1)
            weights *= block
            return np.stack([weights.sum(1), np.einsum("ij,ij->i", weights, block)]) / total

        mean, square = np.concatenate(self.map(moments), axis=1)
        return mean - self.own, square - mean**2


def _refined(scores: _Scores, temperature: float, first: Sequence[np.ndarray]) -> float:
    """Fits a temperature by Newton's method from one nearby, at which the derivatives are `first`.

    The loss is convex in the inverse temperature. A step that leaves the interval still possible is replaced by its
    geometric mean.
    """
    low, high, inverse = 1 / _HIGHEST, 1 / _LOWEST, 1 / temperature
    slopes, curvatures = first
    for _ in range(_MAX_STEPS):
        slope, curvature = slopes.mean(), curvatures.mean()
        low, high = (low, inverse) if slope > 0 else (inverse, high)
        newton = inverse - slope / max(curvature, 1e-300)
        last, inverse = inverse, newton if low < newton < high else math.sqrt(low * high)
        if abs(math.log(inverse / last)) < _SMALL_STEP:  # the remaining error is about its square
            break
        slopes, curvatures = scores.derivatives(inverse)
    return 1 / inverse
