"""Computes the gradient of a batch in parts, so that only one part's activations (on a CPU two's) are in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

Loss = Callable[..., tuple[Array, tuple[Any, Any]]]


class Variables(NamedTuple):
    """The variables of a model: trees of the parameters, and of the state before the first part of a batch."""

    params: Any
    model_state: Any


@dataclasses.dataclass(frozen=True)
class Microbatches:
    """The microbatches that a batch is split into; below they are its parts.

    Attributes:
        count: number of parts; a batch is a multiple of count * unit.
        unit: number of consecutive images that stay together. Units are dealt to the parts in turn, so that every
            device has an equal share of each part.
        unroll: parts of which an iteration of the loop consists.
    """

    count: int = 1
    unit: int = 1
    unroll: int = 1

    def split(self, tree: Any) -> Any:
        """Reshapes [batch, ...] to [count, batch / count, ...]."""

        def deal(x: Array) -> Array:
            units = x.reshape(-1, self.count, self.unit, *x.shape[1:]).swapaxes(0, 1)
            return units.reshape(self.count, -1, *x.shape[1:])

        return jax.tree.map(deal, tree)

    def join(self, tree: Any) -> Any:
        """Inverts `split`."""

        def gather(x: Array) -> Array:
            units = x.reshape(self.count, -1, self.unit, *x.shape[2:]).swapaxes(0, 1)
            return units.reshape(-1, *x.shape[2:])

        return jax.tree.map(gather, tree)


def loss_and_gradient(
    compute: Loss,
    variables: Variables,
    batch: Any,
    key: Array,
    *,
    loss_weights: Mapping[str, float],
    masses: Mapping[str, Array],
    microbatches: Microbatches,
) -> tuple[Array, Any, Any, Any]:
    """Computes the loss of a batch, its gradient, the model's outputs and next state.

    Each part's loss is weighted by its share of the images that the mean at a level runs over, so that loss and
    gradient are those of the whole batch wherever images do not affect each other. BatchNorm sees the images of one
    part, and its running statistics move once per part.

    Args:
        compute: maps (params, model_state=, batch=, key=, loss_weights=) to loss, (outputs, model_state); the loss is
            the sum over levels of loss_weights times a mean over the images.
        variables: the gradient is taken with respect to the parameters.
        batch: tree of arrays [batch, ...].
        key: if there are several parts, each folds its own key from it.
        loss_weights: level -> weight; 1 for a level that is not named.
        masses: level -> [batch], each image's share in the level's mean: 0 where its label is unknown.
        microbatches: how the batch is split.

    Returns:
        loss, outputs [batch, ...] in the order of the batch, model_state, gradient.
    """
    params, model_state = variables
    weights = {level: loss_weights.get(level, 1.0) for level in masses}
    gradient_of = jax.value_and_grad(compute, has_aux=True)
    if microbatches.count == 1:
        (loss, (outputs, model_state)), grads = gradient_of(
            params, model_state=model_state, batch=batch, key=key, loss_weights=weights
        )
        return loss, outputs, model_state, grads

    totals = {level: mass.sum() for level, mass in masses.items()}
    totals = {level: jnp.where(total > 0, total, 1) for level, total in totals.items()}

    def add_part(carry: tuple[Array, Any, Any], part: tuple[Array, Any, Any]) -> tuple[tuple[Array, Any, Any], Any]:
        loss, model_state, grads = carry
        index, batch, masses = part
        shares = {k: (weight * masses[k].sum() / totals[k]).astype(loss.dtype) for k, weight in weights.items()}
        (more, (outputs, model_state)), part_grads = gradient_of(
            params, model_state=model_state, batch=batch, key=jax.random.fold_in(key, index), loss_weights=shares
        )
        return (loss + more, model_state, jax.tree.map(jnp.add, grads, part_grads)), outputs

    loss_dtype = jnp.result_type(*jax.tree.leaves(params))
    start = (jnp.zeros((), loss_dtype), model_state, jax.tree.map(jnp.zeros_like, params))
    xs = jnp.arange(microbatches.count), microbatches.split(batch), microbatches.split(dict(masses))
    (loss, model_state, grads), outputs = lax.scan(add_part, start, xs, unroll=microbatches.unroll)
    return loss, microbatches.join(outputs), model_state, grads
