"""Skips updates that are not finite inside the step, and counts them in the state.

optax.apply_if_finite would not do: it lets the n-th bad update through and never guards the BatchNorm statistics.
"""

from __future__ import annotations

from typing import Any, overload

import jax
import jax.numpy as jnp
from jax import Array

Guard = dict[str, Array]


def init_guard(dtype: jnp.dtype) -> Guard:
    """Returns the guard of a new state: int32 counters, and the epoch's sums of norms in dtype."""
    zero, none = jnp.zeros((), dtype), jnp.zeros((), jnp.int32)
    return {
        "in_a_row": none,  # skipped updates since the last applied one
        "rollbacks": none,  # each multiplies the learning rate by nonfinite.learning_rate_factor
        "updates": none,  # applied and skipped updates of the running epoch
        "skipped": none,
        "gradient_norm": zero,  # sums over the applied updates
        "update_norm": zero,
    }


def clip(grads: Any, norm: Array, limit: float) -> Any:
    """Scales gradients down to a global norm of at most `limit`; 0 means no limit."""
    if not limit:
        return grads
    factor = jnp.minimum(1, limit / jnp.maximum(norm, jnp.finfo(norm.dtype).tiny))
    return jax.tree.map(lambda g: g * factor.astype(g.dtype), grads)


def is_applied(guard: Guard, loss: Array, gradient_norm: Array, limit: int) -> Array:
    """Returns whether an update counts, bool [].

    Once `limit` updates in a row have been skipped no further one is applied, so it does not matter how late the host
    notices.

    Args:
        guard: before the update.
        loss: of the batch.
        gradient_norm: over all parameters.
        limit: the result of `limit_in_a_row`.
    """
    return jnp.isfinite(loss) & jnp.isfinite(gradient_norm) & may_continue(guard["in_a_row"], limit)


def limit_in_a_row(on_nonfinite: str, max_in_a_row: int) -> int:
    """Returns how many skipped updates in a row end the run or roll it back: 1 if the first one stops it."""
    return 1 if on_nonfinite == "stop" else max_in_a_row


@overload
def may_continue(in_a_row: int, limit: int) -> bool: ...
@overload
def may_continue(in_a_row: Array, limit: int) -> Array: ...
def may_continue(in_a_row: Any, limit: int) -> Any:
    """Returns whether fewer updates than `limit` have been skipped in a row."""
    return in_a_row < limit


@overload
def slowed(learning_rate: float, factor: float, rollbacks: int) -> float: ...
@overload
def slowed(learning_rate: Array, factor: Array, rollbacks: Array) -> Array: ...
def slowed(learning_rate: Any, factor: Any, rollbacks: Any) -> Any:
    """Returns the learning rate after rollbacks, each of which multiplies it by factor.

    The host calls it with numbers, the step with arrays. Without rollbacks the learning rate stays exactly the same.
    """
    return learning_rate * factor**rollbacks


def where(good: Array, new: Any, old: Any) -> Any:
    """Returns `new` if good, else `old`, leaf by leaf."""
    return jax.tree.map(lambda n, o: jnp.where(good, n, o), new, old)


def count(guard: Guard, good: Array, gradient_norm: Array, update_norm: Array, is_first: Array) -> Guard:
    """Returns the guard after an update.

    Args:
        guard: before the update.
        good: whether the update was applied.
        gradient_norm: over all parameters.
        update_norm: norm of the change of the parameters.
        is_first: whether the step is the first of an epoch, at which the epoch's sums start anew.
    """
    sums = {
        "updates": jnp.ones((), jnp.int32),
        "skipped": 1 - good.astype(jnp.int32),
        "gradient_norm": jnp.where(good, gradient_norm, 0),
        "update_norm": jnp.where(good, update_norm, 0),
    }
    return {
        "in_a_row": jnp.where(good, 0, guard["in_a_row"] + 1),
        "rollbacks": guard["rollbacks"],
        **{name: jnp.where(is_first, 0, guard[name]) + x.astype(guard[name].dtype) for name, x in sums.items()},
    }


def epoch_summary(guard: dict[str, Any]) -> dict[str, float]:
    """Returns the mean norms over an epoch's applied updates and the number of skipped ones, from the fetched guard."""
    applied = int(guard["updates"]) - int(guard["skipped"])
    sums = {name: float(guard[name]) for name in ("gradient_norm", "update_norm")}
    means = {name: total / applied if applied else float("nan") for name, total in sums.items()}
    return means | {"skipped_updates": int(guard["skipped"])}
