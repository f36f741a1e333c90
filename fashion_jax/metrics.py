"""Loss, accuracy, macro-F1 and AUROC: as sums on the device for training, exact on the host for validation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fashion_jax.hierarchy import UNKNOWN

NUM_BINS = 512  # of the score histograms
MAX_SCORE = 16.0  # log-odds beyond it share the outermost bins

METRICS = ("loss", "accuracy", "macro_f1", "auroc")


def init_accumulators(num_classes: dict[str, int], dtype: jnp.dtype = jnp.float32) -> dict[str, dict[str, Array]]:
    """Level -> accumulators of no images.

    Args:
        num_classes: level -> C.
        dtype: of the computation; the sum of the losses is at least float32.

    Returns:
        Level -> {"loss_sum": [], "count": int32 [], "confusion": int32 [C, C] (true, predicted),
        "histogram": int32 [C, NUM_BINS, 2] (bin of the score, 1 where the image is of the class)}.
    """
    return {
        level: {
            "loss_sum": jnp.zeros((), jnp.promote_types(dtype, jnp.float32)),
            "count": jnp.zeros((), jnp.int32),
            "confusion": jnp.zeros((size, size), jnp.int32),
            "histogram": jnp.zeros((size, NUM_BINS, 2), jnp.int32),
        }
        for level, size in num_classes.items()
    }


def accumulate(accumulators: dict[str, Array], *, losses: Array, log_probs: Array, labels: Array) -> dict[str, Array]:
    """The accumulators of one level with a batch added; call it inside jit.

    Args:
        accumulators: one level of init_accumulators.
        losses: [batch].
        log_probs: [batch, C].
        labels: int [batch]; an image whose label is UNKNOWN (-1) is not counted, whatever its loss.
    """
    known = labels != UNKNOWN
    rows = jnp.where(known, labels, 0)
    ones = known.astype(jnp.float32)  # exact, and added up over devices together with the other sums
    classes = jnp.arange(log_probs.shape[1])
    bins = jnp.floor((_log_odds(log_probs) + MAX_SCORE) * (NUM_BINS / (2 * MAX_SCORE)))
    bins = jnp.clip(bins, 0, NUM_BINS - 1).astype(jnp.int32)
    positive = (labels[:, None] == classes).astype(jnp.int32)
    confusion, histogram = (jnp.zeros(accumulators[name].shape, ones.dtype) for name in ("confusion", "histogram"))
    counts = {
        "count": ones.sum(),
        "confusion": confusion.at[rows, log_probs.argmax(1)].add(ones),
        "histogram": histogram.at[classes, bins, positive].add(ones[:, None]),
    }
    loss_sum = accumulators["loss_sum"]
    return {
        "loss_sum": loss_sum + jnp.where(known, losses, 0).astype(loss_sum.dtype).sum(),
        **{name: accumulators[name] + x.astype(jnp.int32) for name, x in counts.items()},
    }


def _log_odds(log_probs: Array) -> Array:
    """log p - log(1 - p), [batch, C], precise at both ends.

    Only the likeliest class can have p > 1/2, where 1 - p would cancel: its complement is the sum of the others.
    """
    top = jnp.arange(log_probs.shape[1]) == log_probs.argmax(1)[:, None]
    others = jax.nn.logsumexp(jnp.where(top, -jnp.inf, log_probs), axis=1, keepdims=True)
    # The constant keeps log1p finite where the value is not used.
    complement = jnp.where(top, others, jnp.log1p(-jnp.exp(jnp.where(top, -1.0, log_probs))))
    return log_probs - complement


def summarize(accumulators: dict[str, np.ndarray]) -> dict[str, float]:
    """The metrics of one level's accumulators, fetched; NaN for what is undefined.

    Returns:
        METRICS, and "auroc_tied_mass", the bound on the error of the AUROC that the bins cause: half the
        share of the (positive, negative) pairs that share a bin. Macro-F1 is over the classes that are
        true or predicted somewhere; AUROC is the mean of one-versus-rest over the classes with images
        inside and outside, ties counting half.
    """
    count = int(accumulators["count"])
    if count == 0:
        return dict.fromkeys((*METRICS, "auroc_tied_mass"), float("nan"))
    confusion = np.asarray(accumulators["confusion"], np.int64)
    hits, sizes = np.diagonal(confusion), confusion.sum(0) + confusion.sum(1)
    auroc, tied_mass = _histogram_auroc(np.asarray(accumulators["histogram"], np.float64))
    return {
        "loss": float(accumulators["loss_sum"]) / count,
        "accuracy": float(hits.sum() / count),
        "macro_f1": float(np.mean(2 * hits[sizes > 0] / sizes[sizes > 0])),
        "auroc": auroc,
        "auroc_tied_mass": tied_mass,
    }


def _histogram_auroc(histogram: np.ndarray) -> tuple[float, float]:
    """Mean AUROC and mean tied mass of float64 [C, NUM_BINS, 2]."""
    negative, positive = histogram[..., 0], histogram[..., 1]
    pairs = negative.sum(1) * positive.sum(1)
    defined = pairs > 0
    if not defined.any():
        return float("nan"), float("nan")
    tied = (positive * negative).sum(1) / 2
    wins = (positive * (negative.cumsum(1) - negative)).sum(1) + tied
    return float(np.mean(wins[defined] / pairs[defined])), float(np.mean(tied[defined] / pairs[defined]))


def evaluate_level(log_probs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """METRICS of one level, exact, in float64, as scikit-learn defines them; NaN for what is undefined.

    Args:
        log_probs: [images, C].
        labels: int [images]; images whose label is UNKNOWN (-1) are left out.
    """
    from sklearn.metrics import f1_score

    log_probs, labels = known_images(log_probs, labels)
    if not len(labels):
        return dict.fromkeys(METRICS, float("nan"))
    predictions = log_probs.argmax(1)
    present = np.union1d(labels, predictions)
    auroc = _auroc(log_probs, labels)
    defined = auroc[~np.isnan(auroc)]
    return {
        "loss": float(-log_probs[np.arange(len(labels)), labels].mean()),
        "accuracy": float(np.mean(predictions == labels)),
        "macro_f1": float(f1_score(labels, predictions, labels=present, average="macro", zero_division=0)),
        "auroc": float(defined.mean()) if len(defined) else float("nan"),
    }


def per_class(log_probs: np.ndarray, labels: np.ndarray) -> list[dict[str, float]]:
    """{"f1", "precision", "recall", "auroc", "support"} of each class; arguments as in evaluate_level.

    AUROC is NaN for a class that has no image, or all of them. F1, precision and recall are NaN for a class
    that is neither true nor predicted anywhere, so that macro-F1 is the mean of the others.
    """
    log_probs, labels = known_images(log_probs, labels)
    confusion = confusion_matrix(labels, log_probs.argmax(1), log_probs.shape[1])
    hits, support, predicted = np.diagonal(confusion), confusion.sum(1), confusion.sum(0)
    absent = support + predicted == 0
    columns = {
        "f1": 2 * hits / np.maximum(support + predicted, 1),
        "precision": hits / np.maximum(predicted, 1),
        "recall": hits / np.maximum(support, 1),
    }
    columns = {name: np.where(absent, np.nan, column) for name, column in columns.items()}
    columns |= {"auroc": _auroc(log_probs, labels), "support": support}
    return [dict(zip(columns, row, strict=True)) for row in zip(*(c.tolist() for c in columns.values()), strict=True)]


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """int64 [num_classes, num_classes], rows true, columns predicted; labels and predictions are [images].

    Images whose label is UNKNOWN (-1) are left out.
    """
    known = labels != UNKNOWN
    cells = np.asarray(labels, np.int64)[known] * num_classes + np.asarray(predictions)[known]
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def known_images(log_probs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of log-probabilities [images, C], in float64, and of labels [images] that are not UNKNOWN (-1)."""
    labels = np.asarray(labels)
    known = labels != UNKNOWN
    return np.asarray(log_probs)[known].astype(np.float64), labels[known]


def _auroc(log_probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[C]: one-versus-rest AUROC, NaN for classes without positives or negatives, or with a NaN score."""
    from sklearn.metrics import roc_auc_score

    scores = np.maximum(log_probs, np.finfo(np.float64).min)  # scikit-learn refuses the logarithm of zero
    support = np.bincount(labels, minlength=scores.shape[1])
    defined = (support > 0) & (support < len(labels)) & ~np.isnan(scores).any(0)
    auroc = np.full(scores.shape[1], np.nan)
    for k in np.flatnonzero(defined):
        auroc[k] = roc_auc_score(labels == k, scores[:, k])
    return auroc
