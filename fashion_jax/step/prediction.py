"""Predicts log-probabilities for every image of a split."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jax.sharding import Mesh

from fashion_jax.devices.mesh import fetch, in_turn, put_batch
from fashion_jax.step.train_state import TrainState

EvalFn = Callable[..., dict[str, Any]]  # the jitted eval_step: (params, model_state, batch) -> log-probabilities


def predict_split(
    state: TrainState, batches: Iterator[dict[str, Any]], count: int, eval_fn: EvalFn, mesh: Mesh
) -> dict[str, np.ndarray]:
    """Returns level -> log-probabilities [count, classes], each image once, in order.

    Args:
        state: its params and model_state are used, or their averages.
        batches: the rows of each batch that this process holds (devices.mesh.local_rows), the last batch padded.
        count: images in the split.
        eval_fn: the jitted eval_step.
        mesh: over which batches are spread.
    """
    tables: dict[str, np.ndarray] = {}
    filled, pending = 0, None
    for batch in batches:
        latest = in_turn(eval_fn(*state.eval_variables, put_batch({"image": batch["image"]}, mesh)), mesh)
        if pending is not None:  # fetched one batch late, so that the device never waits
            filled = _fill(tables, filled, fetch(pending), count)
        pending = latest
    _fill(tables, filled, fetch(pending), count)
    return tables


def _fill(tables: dict[str, np.ndarray], start: int, results: dict[str, np.ndarray], count: int) -> int:
    """Copies the results of a batch into tables of `count` rows, from a row on; returns the row after them."""
    for level, rows in results.items():
        if level not in tables:  # all batches joined at the end would take the memory twice
            tables[level] = np.empty((count, *rows.shape[1:]), rows.dtype)
        tables[level][start : start + len(rows)] = rows[: count - start]
    return min(start + len(rows), count)
