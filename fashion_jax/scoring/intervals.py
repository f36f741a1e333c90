"""Computes 95 % intervals of scores, and tests of two runs on the same images.

An interval says where the score would lie on all images of the same kind. It is the exact interval of a binomial share
(Clopper and Pearson 1934) of the number of images that gives the score's own variance (Korn and Graubard 1998): it
contains the score, stays within 0 to 1, and has a width even if all images are predicted correctly.
"""

from __future__ import annotations

import math

import numpy as np

from fashion_jax.taxonomy import UNKNOWN

LEVEL = 0.95
INTERVALS = ("accuracy", "macro_f1", "auroc")

_QUANTILE = 1.959964  # normal quantile at (1 + LEVEL) / 2
_COLUMNS = 64  # classes whose scores are copied at a time

Interval = list[float]  # low, high


def score_intervals(log_probs: np.ndarray, labels: np.ndarray) -> dict[str, Interval]:
    """Returns the 95 % interval of each score in INTERVALS, as `evaluate_level` computes it; NaN if undefined.

    Macro-F1 and AUROC are linearized in the images around their value (the delta method, and DeLong et al. 1988).
    For the variance, every class gets two further images, one right and one wrong: five images that are all right
    do not prove that the class has no errors.

    Args:
        log_probs: [images, C].
        labels: int [images]; images whose label is UNKNOWN (-1) are left out.
    """
    labels, known = np.asarray(labels), np.flatnonzero(labels != UNKNOWN)
    if not len(known):
        return {name: [math.nan, math.nan] for name in INTERVALS}
    guess = log_probs.argmax(1)[known]
    true = labels[known]
    return {
        "accuracy": share_interval(true == guess),
        "macro_f1": _macro_f1_interval(true, guess, log_probs.shape[1]),
        "auroc": _auroc_interval(log_probs, known, true, true != guess),
    }


def share_interval(correct: np.ndarray) -> Interval:
    """Returns the exact 95 % interval of the mean of bool [images]; NaN without images."""
    return list(_exact(float(np.mean(correct)), len(correct))) if len(correct) else [math.nan, math.nan]


def _exact(share: float, images: float) -> tuple[float, float]:
    """Returns Clopper and Pearson's interval of a share of a number of images, which need not be whole."""
    from scipy.special import betaincinv

    right, tail = share * images, (1 - LEVEL) / 2
    wrong = images - right
    low = float(betaincinv(right, wrong + 1, tail)) if right > 0 else 0.0
    high = float(betaincinv(right + 1, wrong, 1 - tail)) if wrong > 0 else 1.0
    return min(low, share), max(high, share)


def _macro_f1_interval(labels: np.ndarray, guess: np.ndarray, num_classes: int) -> Interval:
    """Returns the interval of macro-F1 over the classes that occur as label or prediction.

    A class without images has an F1 of 0, without uncertainty.
    """
    right = labels == guess
    support, predicted = (np.bincount(x, minlength=num_classes) for x in (labels, guess))
    hits = np.bincount(labels[right], minlength=num_classes)
    sizes = np.maximum(support + predicted, 1)
    count = np.count_nonzero(support + predicted)
    f1 = 2 * hits / sizes
    smoothed = np.where(support > 0, 2 * (hits + 1) / (support + predicted + 4), 0)
    loss = smoothed / sizes  # decrease of a class's F1 per further image labelled or predicted so
    influence = 2 * right / sizes[labels] - loss[labels] - loss[guess]
    further = np.stack([2 / sizes - 2 * loss, -2 * loss])
    images = _effective_images(influence, labels, further.sum(0), (further**2).sum(0), smoothed.sum(), count)
    value = f1.sum() / count
    biases = [bias.sum() / count for bias in _f1_biases(labels, guess, support, hits, sizes)]
    low, high = (_exact(float(np.clip(value - bias, 0, 1)), images) for bias in (max(biases), min(biases)))
    return [min(low[0], value), max(high[1], value)]


def _f1_biases(
    labels: np.ndarray, guess: np.ndarray, support: np.ndarray, hits: np.ndarray, sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns two estimates of the bias of F1 [classes] to second order, which exists because F1 is a quotient.

    The first is for images drawn class by class, a fixed number of each (as our own splits are); the second for images
    drawn from all classes together. Over many classes with few images each, the bias exceeds the random error.
    """
    f1 = 2 * hits / sizes
    cells, counts = np.unique(labels.astype(np.int64) * len(sizes) + guess, return_counts=True)
    true, predicted = np.divmod(cells, len(sizes))
    variances = counts * (1 - counts / support[true]) * support[true] / np.maximum(support[true] - 1, 1)
    of_predicted = np.bincount(predicted, variances, len(sizes))
    of_hits = np.bincount(true, variances * (true == predicted), len(sizes))
    return (f1 * of_predicted - 2 * of_hits) / sizes**2, -f1 * (1 - f1) / sizes


def _auroc_interval(log_probs: np.ndarray, known: np.ndarray, labels: np.ndarray, is_wrong: np.ndarray) -> Interval:
    """Returns the interval of the mean AUROC over the classes that have images inside and outside.

    The wrong image that is added to each class is placed as the wrong ones of all classes are, and a further one by
    chance: a mistaken image mostly scores higher in its class than nearly all others do.

    Args:
        log_probs: [all images, C].
        known: the images whose label is known.
        labels: int [known images].
        is_wrong: bool [known images], whether the likeliest class is another one.
    """
    support = np.bincount(labels, minlength=log_probs.shape[1])
    others = len(labels) - support
    classes = np.flatnonzero((support > 0) & (others > 0))
    value, influence = np.full(len(support), np.nan), np.zeros(len(labels))
    mistaken = [np.zeros(0)]
    for part in np.split(classes, range(_COLUMNS, len(classes), _COLUMNS)):
        for k, scores in zip(part, np.ascontiguousarray(log_probs[:, part].T)[:, known], strict=True):
            if not np.isnan(scores).any():
                inside = labels == k
                below, above = _placements(scores, inside)
                value[k] = below.mean()
                mistaken.append(below[is_wrong[inside]])
                influence[inside] += (below - value[k]) / support[k]
                influence[~inside] += (above - value[k]) / others[k]
    defined = ~np.isnan(value)
    if not defined.any():
        return [math.nan, math.nan]
    # The added images have a placement of 1 and that of a mistake; both count in their own class and in the class that
    # they are taken for.
    places = np.concatenate(mistaken)
    first, second = ((x.sum() + chance) / (len(x) + 1) for x, chance in ((places, 1 / 2), (places**2, 1 / 3)))
    fewest = np.where(np.arange(len(support)) == support.argmax(), np.partition(others, 1)[1], others.min())
    weight = np.where(defined, 1 / np.maximum(support, 1) + 1 / np.maximum(fewest, 1), 0)
    value = np.nan_to_num(value)
    further = weight * (1 + first - 2 * value)
    squared = weight**2 * ((1 - value) ** 2 + second - 2 * first * value + value**2)
    smoothed = np.where(defined, (value * support + 1 + first) / (support + 2), 0)
    images = _effective_images(influence, labels, further, squared, smoothed.sum(), np.count_nonzero(defined))
    return list(_exact(min(float(value.sum() / np.count_nonzero(defined)), 1.0), images))


def _placements(scores: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns DeLong's structural components for the images of a class and for all others; ties count half.

    For an image of the class, this is the share of the others that score below it; for another image, the share of the
    class that scores above it.
    """
    own = np.sort(scores[inside])
    fewer, upto = (np.searchsorted(own, scores[~inside], side) for side in ("left", "right"))  # of own scores below
    places = np.searchsorted(own, scores[inside], "left")
    less, at_most = (np.bincount(x, minlength=len(own) + 1).cumsum()[places] for x in (upto, fewer))
    return (less + at_most) / (2 * len(fewer)), 1 - (fewer + upto) / (2 * len(own))


def _effective_images(
    influence: np.ndarray,
    labels: np.ndarray,
    further: np.ndarray,
    further_squared: np.ndarray,
    smoothed: float,
    num_classes: int | np.integer,
) -> float:
    """Returns the number of images at which a share of right ones has the variance of this mean over classes.

    Args:
        influence: [images], the contribution of each image to the sum over the classes.
        labels: int [images].
        further: [classes], the summed influence of the two images added to each class.
        further_squared: [classes], the sum of their squares.
        smoothed: the sum over the classes with these images added.
        num_classes: the number of classes in the mean.
    """
    support = np.bincount(labels, minlength=len(further))
    mean, square = (
        (np.bincount(labels, x, len(further)) + more) / (support + 2)
        for x, more in ((influence, further), (influence**2, further_squared))
    )
    variance = (support * square).sum() - (support * mean).sum() ** 2 / len(labels)
    value = smoothed / num_classes
    return float(value * (1 - value) * num_classes**2 / variance)


def paired_test(correct_a: np.ndarray, correct_b: np.ndarray) -> dict[str, float | Interval]:
    """Tests whether two runs differ in accuracy on the same images.

    Args:
        correct_a: bool [images], whether the first run is right.
        correct_b: bool [images], whether the second run is right.

    Returns:
        difference (accuracy of b minus accuracy of a), interval (its 95 % interval, Bonett and Price 2012), only_a and
        only_b (images that only this run has right), and p_value of McNemar's exact test (two-sided binomial, p = 1/2).
    """
    from scipy.stats import binomtest

    count = len(correct_a)
    only_a, only_b = int((correct_a & ~correct_b).sum()), int((correct_b & ~correct_a).sum())
    test: dict[str, float | Interval] = {"only_a": only_a, "only_b": only_b}
    if not count:
        return test | {"difference": math.nan, "interval": [math.nan, math.nan], "p_value": math.nan}
    p_value = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    difference = (only_b - only_a) / count
    middle, either = (only_b - only_a) / (count + 2), (only_a + only_b + 2) / (count + 2)
    half = _QUANTILE * math.sqrt((either - middle**2) / (count + 2))
    interval = [min(max(middle - half, -1), difference), max(min(middle + half, 1), difference)]
    return test | {"difference": difference, "interval": interval, "p_value": p_value}
