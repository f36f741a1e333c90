"""Groups steps into dispatches, and their batches into one."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from fashion_jax.devices.mesh import batch_sharding


def dispatches(start: int, ends: Sequence[int], together: int, every: int) -> Iterator[tuple[int, int]]:
    """Plans how the steps after `start` are dispatched, up to the last of the ascending `ends` of epochs.

    Either `together` steps are dispatched at a time or a single one, so that only two programs are compiled. No
    dispatch spans an epoch's end or a multiple of `every`, where a checkpoint is due. What follows a step depends on
    that step only, so a resumed run continues in the same way.

    Yields:
        The last step of each dispatch, and its number of steps.
    """
    step = start
    for end in ends:
        while step < end:
            boundary = min(end, step - step % every + every)
            count = together if step + together <= boundary else 1
            step += count
            yield step, count


def steps_at_once(together: int, every: int, steps_per_epoch: int) -> int:
    """Returns how many steps `dispatches` dispatches at a time where it can: 1 if `together` of them never fit."""
    return together if together <= min(every, steps_per_epoch) else 1


def next_batch(batches: Iterator[Any], count: int) -> Any:
    """Returns the next batch or, if count is above 1, the next `count` batches as arrays [count, batch, ...]."""
    if count == 1:
        return next(batches)
    return jax.tree.map(_stack, *itertools.islice(batches, count))


def _stack(*xs: Any) -> Any:
    """Stacks arrays where they are: arrays on devices stay there, with the same sharding."""
    if not isinstance(xs[0], jax.Array):
        return np.stack(xs)
    return _stacking(xs[0].sharding)(xs)


@functools.cache
def _stacking(spread: NamedSharding) -> Callable[[tuple[jax.Array, ...]], jax.Array]:
    assert isinstance(spread.mesh, Mesh)  # an abstract mesh has no arrays
    return jax.jit(jnp.stack, out_shardings=batch_sharding(spread.mesh, stacked=True))
