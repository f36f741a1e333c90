"""How sure a score is: 95 % bootstrap intervals, and tests of two runs on the same images."""

from __future__ import annotations

import math

import numpy as np

from fashion_jax.hierarchy import UNKNOWN

RESAMPLES = 1000
LEVEL = 0.95
INTERVALS = ("accuracy", "macro_f1", "auroc")

_PART = 100  # resamples at a time, so that their weights take little memory

Interval = list[float]  # low, high


def bootstrap_intervals(
    log_probs: np.ndarray, labels: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """INTERVALS -> 95 % percentile interval over resampled images (Efron and Tibshirani 1993); NaN if undefined.

    Accuracy and macro-F1 are those of evaluate_level in each resample. AUROC is taken linear in the images' weights
    around its value on all images, by its structural components (DeLong et al. 1988): its own bootstrap would sort
    every class anew each time.

    Args:
        log_probs: [images, C].
        labels: int [images]; images whose label is UNKNOWN (-1) are left out.
        resamples: their number.
        seed: of the resampling.
    """
    known = labels != UNKNOWN
    log_probs, labels = np.asarray(log_probs, np.float64)[known], labels[known]
    if not len(labels):
        return {name: [math.nan, math.nan] for name in INTERVALS}
    classes = np.arange(log_probs.shape[1])
    true, guess = labels[:, None] == classes, log_probs.argmax(1)[:, None] == classes
    rank, value = _placements(log_probs, true)
    features = np.concatenate([true & guess, true, guess, rank * true, rank * ~true], axis=1).astype(np.float32)
    generator = np.random.default_rng(seed)
    sums = np.concatenate([_weights(generator, len(labels), n) @ features for n in _parts(resamples)])
    hits, support, predicted, positive, negative = np.split(sums.astype(np.float64), 5, axis=1)
    sizes = support + predicted
    with np.errstate(invalid="ignore", divide="ignore"):  # a class that a resample lacks is left out of its mean
        f1 = _row_means(2 * hits / sizes)
        auroc = _row_means(positive / support + negative / (len(labels) - support) - value)
    values = zip(INTERVALS, (hits.sum(1) / len(labels), f1, auroc.clip(0, 1)), strict=True)
    return {name: _interval(x) for name, x in values}


def _placements(scores: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """DeLong's structural components [images, C], and the AUROC [C] that they are the means of.

    Of an image of the class the share of the others below it, of another image the share of the class's above it;
    ties count half.
    """
    from scipy.stats import rankdata

    positives = true.sum(0)
    negatives = len(true) - positives
    components = np.empty(scores.shape)
    for k in range(scores.shape[1]):
        inside, column = true[:, k], scores[:, k]
        ranks = rankdata(column)
        components[inside, k] = (ranks[inside] - rankdata(column[inside])) / max(negatives[k], 1)
        components[~inside, k] = 1 - (ranks[~inside] - rankdata(column[~inside])) / max(positives[k], 1)
    undefined = (positives == 0) | (negatives == 0) | np.isnan(scores).any(0)
    value = np.where(undefined, np.nan, (components * true).sum(0) / np.maximum(positives, 1))
    return np.nan_to_num(components), value


def _parts(resamples: int) -> list[int]:
    return [min(_PART, resamples - start) for start in range(0, resamples, _PART)]


def _weights(generator: np.random.Generator, images: int, resamples: int) -> np.ndarray:
    """float32 [resamples, images]: how often each image was drawn with replacement."""
    drawn = generator.integers(images, size=(resamples, images)) + images * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * images).reshape(resamples, images).astype(np.float32)


def _row_means(values: np.ndarray) -> np.ndarray:
    """Means over the columns of finite values [resamples, classes]; NaN where there are none."""
    finite = np.isfinite(values)
    count = finite.sum(1)
    return np.where(count > 0, np.where(finite, values, 0).sum(1) / np.maximum(count, 1), np.nan)


def _interval(values: np.ndarray) -> Interval:
    values = values[~np.isnan(values)]
    if not len(values):
        return [math.nan, math.nan]
    return np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()


def mean_interval(correct: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """95 % percentile bootstrap interval of the mean of bool [images]; NaN of none.

    The number of right ones in a resample is binomial, and drawn as such.
    """
    if not len(correct):
        return [math.nan, math.nan]
    drawn = np.random.default_rng(seed).binomial(len(correct), np.mean(correct), resamples)
    return _interval(drawn / len(correct))


def paired_test(
    correct_a: np.ndarray, correct_b: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, float | Interval]:
    """Whether two runs differ in accuracy on the same images.

    Args:
        correct_a: bool [images], whether the first run is right.
        correct_b: bool [images], of the second run.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        difference (accuracy of b less that of a), interval (its 95 % paired percentile bootstrap), only_a and only_b
        (images that one alone has right), and p_value of McNemar's exact test (a two-sided binomial one, of 1/2).
    """
    from scipy.stats import binomtest

    count = len(correct_a)
    only_a, only_b = int((correct_a & ~correct_b).sum()), int((correct_b & ~correct_a).sum())
    test = {"only_a": only_a, "only_b": only_b}
    if not count:
        return test | {"difference": math.nan, "interval": [math.nan, math.nan], "p_value": math.nan}
    shares = np.array([only_b, only_a, count - only_a - only_b]) / count
    drawn = np.random.default_rng(seed).multinomial(count, shares, resamples)
    p_value = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    interval = _interval((drawn[:, 0] - drawn[:, 1]) / count)
    return test | {"difference": (only_b - only_a) / count, "interval": interval, "p_value": p_value}
