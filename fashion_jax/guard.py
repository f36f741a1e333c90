"""Updates that are not finite are skipped inside the step, and counted in the state.

Not optax.apply_if_finite, which lets the n-th one through and never guards the BatchNorm statistics.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from ml_collections import ConfigDict

Guard = dict[str, Array]


def init_guard(dtype: jnp.dtype) -> Guard:
    """Of a new state: counters, int32, and the epoch's sums of norms, in dtype."""
    zero, none = jnp.zeros((), dtype), jnp.zeros((), jnp.int32)
    return {
        "in_a_row": none,  # skipped updates since the last one that was applied
        "rollbacks": none,  # each has multiplied the learning rate by nonfinite.learning_rate_factor
        "updates": none,  # applied and skipped ones of the running epoch
        "skipped": none,
        "gradient_norm": zero,  # sums over the applied ones
        "update_norm": zero,
    }


def clip(grads: Any, norm: Array, limit: float) -> Any:
    """Gradients scaled down to a global norm of at most limit; 0 is no limit."""
    if not limit:
        return grads
    factor = jnp.minimum(1, limit / jnp.maximum(norm, jnp.finfo(norm.dtype).tiny))
    return jax.tree.map(lambda g: g * factor.astype(g.dtype), grads)


def slow_down(updates: Any, guard: Guard, config: ConfigDict) -> Any:
    """Updates with the learning rate that the rollbacks have left; exactly the same where there were none."""
    factor = jnp.asarray(config.nonfinite.learning_rate_factor, guard["update_norm"].dtype) ** guard["rollbacks"]
    return jax.tree.map(lambda u: u * factor.astype(u.dtype), updates)


def keep_finite(
    old: Any, new: Any, loss: Array, gradient_norm: Array, updates: Any, *, limit: int, is_first: Array
) -> Any:
    """The new state; where the loss or the gradient is not finite, the old one, a step further.

    Once `limit` updates in a row have been skipped none is applied any more, so that it does not matter how late the
    host sees it.

    Args:
        old: the TrainState before the update.
        new: after it.
        loss: of the batch.
        gradient_norm: over all parameters.
        updates: that were added to the parameters.
        limit: config.nonfinite.max_in_a_row, or 1 where the first one stops the run.
        is_first: whether the step is the first of an epoch, at which the epoch's sums start anew.
    """
    update_norm = optax.tree.norm(updates)
    good = jnp.isfinite(loss) & jnp.isfinite(gradient_norm) & jnp.isfinite(update_norm)
    good &= old.guard["in_a_row"] < limit
    metrics, guard = (
        jax.tree.map(lambda x: jnp.where(is_first, jnp.zeros_like(x), x), x)
        for x in (
            old.metrics,
            {name: old.guard[name] for name in ("updates", "skipped", "gradient_norm", "update_norm")},
        )
    )
    count = good.astype(jnp.int32)
    return new.replace(
        params=_either(good, new.params, old.params),
        model_state=_either(good, new.model_state, old.model_state),
        opt_state=_either(good, new.opt_state, old.opt_state),
        metrics=_either(good, new.metrics, metrics),
        guard={
            "in_a_row": jnp.where(good, 0, old.guard["in_a_row"] + 1),
            "rollbacks": old.guard["rollbacks"],
            "updates": guard["updates"] + 1,
            "skipped": guard["skipped"] + 1 - count,
            "gradient_norm": guard["gradient_norm"] + _or_zero(good, gradient_norm, guard["gradient_norm"].dtype),
            "update_norm": guard["update_norm"] + _or_zero(good, update_norm, guard["update_norm"].dtype),
        },
    )


def epoch_summary(guard: dict[str, Any]) -> dict[str, float]:
    """Of the fetched guard at an epoch's end: mean norms over the applied updates, and how many were skipped."""
    applied = int(guard["updates"]) - int(guard["skipped"])
    sums = {name: float(guard[name]) for name in ("gradient_norm", "update_norm")}
    means = {name: total / applied if applied else float("nan") for name, total in sums.items()}
    return means | {"skipped_updates": int(guard["skipped"])}


def _either(good: Array, new: Any, old: Any) -> Any:
    """Leaf by leaf; but the step count of the learning rate's schedule goes on with the steps."""

    def is_schedule(node: Any) -> bool:
        return isinstance(node, optax.ScaleByScheduleState)

    return jax.tree.map(lambda n, o: n if is_schedule(n) else jnp.where(good, n, o), new, old, is_leaf=is_schedule)


def _or_zero(good: Array, value: Array, dtype: jnp.dtype) -> Array:
    return jnp.where(good, value, 0).astype(dtype)
