"""Computes cross-entropy at label levels, some of whose labels may be unknown."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fashion_jax.taxonomy import UNKNOWN, Taxonomy


def cross_entropy(logits: Array, labels: Array) -> Array:
    """Computes the cross-entropy of each image, 0 where its label is unknown.

    Args:
        logits: [batch, classes], at least float32; log-probabilities do as well.
        labels: int [batch], UNKNOWN (-1) where not known.

    Returns:
        [batch], in nats.
    """
    log_probs = jax.nn.log_softmax(logits)
    picked = jnp.take_along_axis(log_probs, jnp.maximum(labels, 0)[:, None], axis=-1)[:, 0]
    return jnp.where(labels == UNKNOWN, 0, -picked)


def smooth(targets: Array, share: float) -> Array:
    """Smooths labels: each image gives this share of its mass to all classes alike (Szegedy et al. 2016).

    Args:
        targets: [batch, classes], each image's share of a class; all 0 where the label is unknown, as in the result.
        share: at least 0 and below 1.
    """
    if not share:
        return targets
    return (1 - share) * targets + share * targets.sum(-1, keepdims=True) / targets.shape[-1]


def soft_cross_entropy(logits: Array, targets: Array, total: Array | None = None) -> Array:
    """Computes the mean cross-entropy over all known labels; 0 if none is known.

    Args:
        logits: [batch, classes], at least float32.
        targets: [batch, classes], each image's share of a class, times the weight of the class. The shares of an image
            add up to 1 if all of it is known, to 0 if nothing is.
        total: the sum of the targets before they were smoothed; None if they are not.

    Returns:
        A scalar, in nats: like PyTorch's cross_entropy with `weight` and `label_smoothing`, it is divided by the sum
        of the weights of the labels.
    """
    total = targets.sum() if total is None else total
    losses = -(targets * jax.nn.log_softmax(logits)).sum()
    return jnp.where(total > 0, losses / jnp.where(total > 0, total, 1), 0)


def level_log_probs(logits: Mapping[str, Array], taxonomy: Taxonomy) -> dict[str, Array]:
    """Returns log-probabilities [batch, classes] of every level of the taxonomy, in its order.

    A level without logits gets the sums of its children's probabilities, so the finest level needs logits.
    """
    log_probs: dict[str, Array] = {}
    finer = ""
    for level in reversed(taxonomy.levels):
        if level in logits:
            log_probs[level] = jax.nn.log_softmax(logits[level])
        else:
            parents = np.asarray(taxonomy.parents[finer])
            is_child = parents[:, None] == np.arange(taxonomy.num_classes(level))
            children = jnp.where(is_child, log_probs[finer][:, :, None], -jnp.inf)
            log_probs[level] = jax.nn.logsumexp(children, axis=1)
        finer = level
    return {level: log_probs[level] for level in taxonomy.levels}
