"""Computes loss, accuracy, macro-F1 and AUROC exactly on the host, and the metrics of a split."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fashion_jax.config.combinations import LEVEL_METRICS
from fashion_jax.scoring.blocks import SMALL, map_blocks, row_blocks
from fashion_jax.taxonomy import UNKNOWN

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_TOGETHER = 16  # classes whose scores are copied from a table at once: as many float32 as the processor reads together
_PARTS = 8  # blocks of classes, so that all threads have some


def evaluate_level(log_probs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Computes the LEVEL_METRICS of one level in float64, as scikit-learn defines them; NaN for what is undefined.

    Args:
        log_probs: [images, C].
        labels: int [images]; images whose label is UNKNOWN (-1) are left out.
    """
    found = exact_scores(log_probs, labels)
    return {name: found[name] for name in LEVEL_METRICS}


def exact_scores(log_probs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Computes LEVEL_METRICS and average_precision, the mean over the classes with images."""
    images, labels = known_images(labels)
    if not len(images):
        return dict.fromkeys((*LEVEL_METRICS, "average_precision"), float("nan"))
    predictions = np.asarray(log_probs).argmax(1)[images]
    hits, support, predicted = outcome_counts(labels, predictions, log_probs.shape[1])
    present = support + predicted > 0
    auroc, average_precision = one_versus_rest(log_probs, images, labels)
    defined = auroc[~np.isnan(auroc)]
    return {
        "loss": float(-log_probs[images, labels].astype(np.float64).mean()),
        "accuracy": float(np.mean(predictions == labels)),
        "macro_f1": float(np.mean(2 * hits[present] / (support + predicted)[present])),
        "auroc": float(defined.mean()) if len(defined) else float("nan"),
        "average_precision": float(average_precision[support > 0].mean()),
    }


def per_class(log_probs: np.ndarray, labels: np.ndarray) -> list[dict[str, float]]:
    """Returns {"f1", "precision", "recall", "auroc", "support"} of each class.

    The arguments are those of `evaluate_level`. AUROC is NaN for a class that has no image, or all of them. F1,
    precision and recall are NaN for a class that is neither true nor predicted anywhere, so that macro-F1 is the mean
    of the others.
    """
    images, labels = known_images(labels)
    hits, support, predicted = outcome_counts(labels, np.asarray(log_probs).argmax(1)[images], log_probs.shape[1])
    absent = support + predicted == 0
    columns = {
        "f1": 2 * hits / np.maximum(support + predicted, 1),
        "precision": hits / np.maximum(predicted, 1),
        "recall": hits / np.maximum(support, 1),
    }
    columns = {name: np.where(absent, np.nan, column) for name, column in columns.items()}
    columns |= {"auroc": one_versus_rest(log_probs, images, labels)[0], "support": support}
    return [dict(zip(columns, row, strict=True)) for row in zip(*(c.tolist() for c in columns.values()), strict=True)]


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> csr_array:
    """Returns int64 [num_classes, num_classes], rows true, columns predicted, from labels and predictions [images].

    It is sparse, since with thousands of classes nearly all cells are empty. Images whose label is UNKNOWN (-1) are
    left out.
    """
    from scipy.sparse import csr_array

    images, labels = known_images(labels)
    cells, counts = np.unique(labels * num_classes + np.asarray(predictions)[images], return_counts=True)
    return csr_array((counts, np.divmod(cells, num_classes)), shape=(num_classes, num_classes))


def outcome_counts(
    labels: np.ndarray, predictions: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts for each class the images predicted correctly, all its images, and the images predicted as it.

    Each is int64 [num_classes].
    """
    pairs = labels[predictions == labels], labels, predictions
    hits, support, predicted = (np.bincount(classes, minlength=num_classes) for classes in pairs)
    return hits, support, predicted


def known_images(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the indices of the images whose label is not UNKNOWN (-1), and their labels, both int64."""
    images = np.flatnonzero(np.asarray(labels) != UNKNOWN)
    return images, np.asarray(labels, np.int64)[images]


def one_versus_rest(log_probs: np.ndarray, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes AUROC and average precision [C] of each class against all others, as scikit-learn defines them.

    Both are NaN for a class without images or with a NaN among its scores; AUROC is also NaN for a class that has all
    images.

    Args:
        log_probs: [images, C].
        images: int [known], the rows that count.
        labels: int [known], the labels of these rows.
    """
    auroc, average_precision = np.full((2, log_probs.shape[1]), np.nan)

    def rank(classes: np.ndarray) -> None:
        columns = np.ascontiguousarray(log_probs[images[:, None], classes].T)
        for k, scores in zip(classes, columns, strict=True):
            if not np.isnan(scores).any():
                auroc[k], average_precision[k] = _ranking_scores(scores, labels == k)

    map_blocks(rank, _class_blocks(np.unique(labels), len(images)))
    return auroc, average_precision


def _class_blocks(classes: np.ndarray, num_images: int) -> Iterator[np.ndarray]:
    """Splits classes into blocks: one if all their scores are few, else several for the threads to share."""
    few = SMALL // max(num_images, 1)
    if len(classes) > few:
        few = min(max(few, _TOGETHER), -(-len(classes) // _PARTS))
    return row_blocks(classes, 1, numbers=few)


def _ranking_scores(scores: np.ndarray, positive: np.ndarray) -> tuple[float, float]:
    """Computes AUROC, NaN if all images are positive, and average precision from scores [images] and bool [images].

    Sums are taken in scikit-learn's order, without the overhead of its functions for each class. Corners of the curve
    that lie on a line are left out, so that AUROC has the same bits.
    """
    order = np.argsort(scores)[::-1]
    ranked = scores[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # images of equal score are taken together
    hits = positive[order].cumsum()[last]
    false = last + 1 - hits
    average_precision = np.sum(np.diff(hits, prepend=0) * (hits / (last + 1))) / hits[-1]
    if not false[-1]:
        return np.nan, average_precision
    corner = np.ones(len(last), bool)
    corner[1:-1] = (np.diff(false, 2) != 0) | (np.diff(hits, 2) != 0)
    x = np.append(0, false[corner]) / false[-1]
    y = np.append(0, hits[corner]) / hits[-1]
    return np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2.0), average_precision


def split_metrics(
    labels: Mapping[str, np.ndarray], log_probs: dict[str, np.ndarray], loss_weights: Mapping[str, float]
) -> dict[str, float]:
    """Computes `LEVEL/METRIC` and `loss` of a split in float64, over the images with a known label.

    Args:
        labels: level -> int [images]; images whose label is UNKNOWN (-1) are left out.
        log_probs: level -> [images, classes].
        loss_weights: level -> weight of its loss in training.
    """
    levels = {level: evaluate_level(x, labels[level]) for level, x in log_probs.items()}
    return named_metrics(levels, loss_weights)


def named_metrics(levels: dict[str, dict[str, float]], loss_weights: Mapping[str, float]) -> dict[str, float]:
    """Flattens level -> metric -> value, and adds the total loss: the weighted sum of the trained levels' losses.

    A level of weight 0 adds nothing, even where its loss is undefined.
    """
    metrics = {f"{level}/{name}": value for level, values in levels.items() for name, value in values.items()}
    metrics["loss"] = sum(weight * levels[level]["loss"] for level, weight in loss_weights.items() if weight)
    return metrics


def score(line: Mapping[str, Any], metric: str) -> float:
    """Returns the score of an epoch by its metric, from its line of metrics.jsonl.

    Higher is better, so that a loss is negated; NaN means that the line does not have the metric.
    """
    value = line.get(metric)
    if value is None:
        return math.nan
    return -value if metric.endswith("loss") else value


def epoch_scores(lines: Iterable[dict[str, Any]], metric: str) -> dict[int, float]:
    """Returns the last step of each epoch -> its score by a metric, from the lines of metrics.jsonl."""
    return {line["step"]: score(line, metric) for line in lines}
