"""Computes training metrics: sums and histograms accumulated on the device, and their values after an epoch."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from fashion_jax.config.combinations import LEVEL_METRICS
from fashion_jax.taxonomy import UNKNOWN

NUM_BINS = 512  # bins of a score histogram

MAX_SCORE = 16.0  # log-odds beyond it share the outermost bins


def init_accumulators(num_classes: dict[str, int], dtype: DTypeLike = jnp.float32) -> dict[str, dict[str, Array]]:
    """Returns level -> accumulators of no images.

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
    """Adds a batch to the accumulators of one level; call it inside jit.

    Args:
        accumulators: one level of init_accumulators.
        losses: [batch].
        log_probs: [batch, C].
        labels: int [batch]; an image whose label is UNKNOWN (-1) is not counted, whatever its loss.
    """
    known = labels != UNKNOWN
    rows = jnp.where(known, labels, 0)
    ones = known.astype(jnp.float32)  # exact, and summed over devices together with the other sums
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
    """Computes log p - log(1 - p), [batch, C], precisely at both ends.

    Only the likeliest class can have p > 1/2, where 1 - p would cancel: its complement is the sum of the others.
    """
    top = jnp.arange(log_probs.shape[1]) == log_probs.argmax(1)[:, None]
    others = jax.nn.logsumexp(jnp.where(top, -jnp.inf, log_probs), axis=1, keepdims=True)
    # The constant keeps log1p finite where its value is not used.
    complement = jnp.where(top, others, jnp.log1p(-jnp.exp(jnp.where(top, -1.0, log_probs))))
    return log_probs - complement


def summarize(accumulators: dict[str, np.ndarray]) -> dict[str, float]:
    """Computes the metrics from one level's fetched accumulators; NaN for what is undefined.

    Returns:
        LEVEL_METRICS, and "auroc_tied_mass", the bound on the error of the AUROC that the bins cause: half the
        share of the (positive, negative) pairs that share a bin. Macro-F1 is over the classes that are
        true or predicted somewhere; AUROC is the mean of one-versus-rest over the classes with images
        inside and outside, ties counting half.
    """
    count = int(accumulators["count"])
    if count == 0:
        return dict.fromkeys((*LEVEL_METRICS, "auroc_tied_mass"), float("nan"))
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
    """Returns mean AUROC and mean tied mass of float64 [C, NUM_BINS, 2]."""
    negative, positive = histogram[..., 0], histogram[..., 1]
    pairs = negative.sum(1) * positive.sum(1)
    defined = pairs > 0
    if not defined.any():
        return float("nan"), float("nan")
    tied = (positive * negative).sum(1) / 2
    wins = (positive * (negative.cumsum(1) - negative)).sum(1) + tied
    return float(np.mean(wins[defined] / pairs[defined])), float(np.mean(tied[defined] / pairs[defined]))
