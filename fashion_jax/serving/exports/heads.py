"""Adds the heads of a model to a graph, from features to the log-probabilities of every level."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from fashion_jax.models.classifier import MultiHeadModel
from fashion_jax.models.heads import ClassifierHead, LinearHead, MainHead, SubHead
from fashion_jax.serving.exports.folding import Path, Weights
from fashion_jax.serving.exports.graph import Graph
from fashion_jax.serving.exports.operations import Add, Dense, Gather, LogSoftmax, LogSumExp, Shift, Softmax
from fashion_jax.serving.exports.tree import group_members
from fashion_jax.taxonomy import Taxonomy

# Class of a head -> the number of its hidden layers. Each is a dense layer, a BatchNorm if the head has some, a ReLU.
_HIDDEN_LAYERS = {LinearHead: 0, MainHead: 1, SubHead: 2, ClassifierHead: 2}


def add_heads(graph: Graph, weights: Weights, model: MultiHeadModel, features: str) -> dict[str, str]:
    """Adds the heads and the conditions on the parent level.

    Returns:
        Level -> the name of its logits, for the levels that have a head, coarse to fine.

    Raises:
        TypeError: a head is of a class that exports do not know.
    """
    own = {level: _add_head(graph, weights, head, level, features) for level, head in model.heads.items()}
    logits: dict[str, str] = {}
    for parent, level in itertools.pairwise(["", *own]):
        logits[level] = own[level]
        if level in model.conditions:
            name = f"conditions_{level}"
            kernel = weights.take((name, "kernel")).astype(np.float32)
            likely = graph.add(f"{name}/softmax", Softmax(), logits[parent])
            added = graph.add(f"{name}/product", Dense(kernel, np.zeros(kernel.shape[1], np.float32)), likely)
            logits[level] = graph.add(f"{name}/add", Add(), own[level], added)
    return logits


def _add_head(graph: Graph, weights: Weights, head: Any, level: str, features: str) -> str:
    if type(head) not in _HIDDEN_LAYERS:
        raise TypeError(f"exports do not know the head {type(head).__name__}: add it to {__name__}")
    path: Path = (f"heads_{level}",)
    x = features
    for i in range(1, _HIDDEN_LAYERS[type(head)] + 1):
        norm = (*path, f"bn{i}")
        dense = weights.dense((*path, f"linear{i}"), norm if weights.has((*norm, "scale")) else None)
        x = graph.add_relu(f"{path[0]}/linear{i}", dense, x)
    return graph.add(f"{path[0]}/logits", weights.dense((*path, "logits")), x)


def add_log_probs(
    graph: Graph, logits: Mapping[str, str], shifts: Mapping[str, np.ndarray], taxonomy: Taxonomy
) -> dict[str, str]:
    """Adds the log-probabilities of every level, as `step.losses.level_log_probs` computes them.

    Args:
        graph: the layers before them.
        logits: level -> the name of its logits.
        shifts: level -> what is added to its logits in predictions, [classes].
        taxonomy: the classes.

    Returns:
        Level -> the name of its log-probabilities.
    """
    log_probs: dict[str, str] = {}
    finer = ""
    for level in reversed(taxonomy.levels):
        name = f"log_probs/{level}"
        if level in logits:
            x = logits[level]
            if level in shifts:
                x = graph.add(f"{name}/adjusted", Shift(shifts[level].astype(np.float32)), x)
            log_probs[level] = graph.add(name, LogSoftmax(), x)
        else:
            members, mask = group_members(taxonomy.parents[finer], taxonomy.num_classes(level))
            x = graph.add(f"{name}/children", Gather(members), log_probs[finer])
            x = graph.add(f"{name}/masked", Shift(mask), x)
            log_probs[level] = graph.add(name, LogSumExp(), x)
        finer = level
    return {level: log_probs[level] for level in taxonomy.levels}
