"""Loss, accuracy, macro-F1 and AUROC: as sums on the device for training, exact on the host for validation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fashion_jax.hierarchy import UNKNOWN
from fashion_jax.scoring.blocks import row_blocks

if TYPE_CHECKING:
    from scipy.sparse import csr_array

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
    confusion = np.asarray(accumulators["confusion"])
    hits = np.diagonal(confusion).astype(np.int64)
    sizes = confusion.sum(0, dtype=np.int64) + confusion.sum(1, dtype=np.int64)
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
    found = exact_scores(log_probs, labels)
    return {name: found[name] for name in METRICS}


def exact_scores(log_probs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """METRICS as evaluate_level, and average_precision, the mean over the classes with images."""
    images, labels = known_images(labels)
    if not len(images):
        return dict.fromkeys((*METRICS, "average_precision"), float("nan"))
    predictions = np.asarray(log_probs).argmax(1)[images]
    hits, support, predicted = class_counts(labels, predictions, log_probs.shape[1])
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
    """{"f1", "precision", "recall", "auroc", "support"} of each class; arguments as in evaluate_level.

    AUROC is NaN for a class that has no image, or all of them. F1, precision and recall are NaN for a class
    that is neither true nor predicted anywhere, so that macro-F1 is the mean of the others.
    """
    images, labels = known_images(labels)
    hits, support, predicted = class_counts(labels, np.asarray(log_probs).argmax(1)[images], log_probs.shape[1])
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
    """int64 [num_classes, num_classes], rows true, columns predicted; labels and predictions are [images].

    It is sparse, since of thousands of classes nearly all cells are empty. Images whose label is UNKNOWN (-1) are left
    out.
    """
    from scipy.sparse import csr_array

    images, labels = known_images(labels)
    cells, counts = np.unique(labels * num_classes + np.asarray(predictions)[images], return_counts=True)
    return csr_array((counts, np.divmod(cells, num_classes)), shape=(num_classes, num_classes))


def class_counts(
    labels: np.ndarray, predictions: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """int64 [num_classes] each: a class's images that are predicted right, all of its images, and those called so."""
    pairs = labels[predictions == labels], labels, predictions
    hits, support, predicted = (np.bincount(classes, minlength=num_classes) for classes in pairs)
    return hits, support, predicted


def known_images(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The places of the images whose label is not UNKNOWN (-1), and their labels, both int64."""
    images = np.flatnonzero(np.asarray(labels) != UNKNOWN)
    return images, np.asarray(labels, np.int64)[images]


def one_versus_rest(log_probs: np.ndarray, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUROC and average precision [C] of each class against all others, as scikit-learn defines them.

    Both are NaN for a class without images, or with a NaN among its scores, and AUROC also for a class that has them
    all.

    Args:
        log_probs: [images, C].
        images: int [known], the rows that count.
        labels: int [known], of these rows.
    """
    auroc, average_precision = np.full((2, log_probs.shape[1]), np.nan)
    for classes in row_blocks(np.unique(labels), len(images)):
        columns = np.ascontiguousarray(log_probs[images[:, None], classes].T)
        for k, scores in zip(classes, columns, strict=True):
            if not np.isnan(scores).any():
                auroc[k], average_precision[k] = _ranking_scores(scores, labels == k)
    return auroc, average_precision


def _ranking_scores(scores: np.ndarray, positive: np.ndarray) -> tuple[float, float]:
    """AUROC, NaN where all images are positive, and average precision, of scores [images] and bool [images].

    The sums are in scikit-learn's order, without what its functions cost for each class: corners of the curve that lie
    on a line are left out, so that AUROC has the same bits.
    """
    order = np.argsort(scores)[::-1]
    ranked = scores[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # images of one score are taken together
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
