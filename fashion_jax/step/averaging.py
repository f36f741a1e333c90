"""Averages the parameters and the statistics of BatchNorm over the steps."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from fashion_jax.step.train_state import TrainState


def next_average(
    average: dict[str, Any], params: Any, model_state: Any, *, good: Array, step: Array, decay: float
) -> dict[str, Any]:
    """Returns the exponential moving average after an update.

    average = d * average + (1 - d) * new, with d = min(decay, (1 + n) / (10 + n)) at update n = 1, 2, …, as in
    tf.train.ExponentialMovingAverage with num_updates: at first the average is over about the latest tenth of the
    steps, so that it soon forgets the random beginning.

    Args:
        average: params and model_state, averaged so far; empty if nothing is averaged, and then so is the result.
        params: after the update.
        model_state: after the update.
        good: whether the update was applied; the average stays as it is otherwise.
        step: int32 [], steps before the update.
        decay: the highest d.
    """
    if not average:
        return {}
    n = step + 1

    def move(old: Array, new: Array) -> Array:
        d = jnp.minimum(decay, (1 + n) / (10 + n)).astype(old.dtype)
        return jnp.where(good & (new != old), d * old + (1 - d) * new, old)  # exact where parameters are frozen

    return jax.tree.map(move, average, {"params": params, "model_state": model_state})


def restart_average(state: TrainState) -> TrainState:
    """Returns the state with an average that begins at its parameters and statistics, if it has one."""
    if not state.average:
        return state
    return state.replace(average=jax.tree.map(jnp.copy, {"params": state.params, "model_state": state.model_state}))
