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
    results, pending = [], None
    for batch in batches:
        latest = in_turn(eval_fn(*state.eval_variables, put_batch({"image": batch["image"]}, mesh)), mesh)
        if pending is not None:  # fetched one batch late, so that the device never waits
            results.append(fetch(pending))
        pending = latest
    results.append(fetch(pending))
    return {level: np.concatenate([result[level] for result in results])[:count] for level in results[0]}
