"""Defines the arrays that training changes from step to step, and how they are created."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array
from jax.sharding import Mesh

from fashion_jax.devices.compiler import compiler_options
from fashion_jax.devices.mesh import batch_sharding, replicated
from fashion_jax.models.classifier import MultiHeadModel
from fashion_jax.step.guard import init_guard
from fashion_jax.step.metrics import init_accumulators


class TrainState(struct.PyTreeNode):
    """Holds arrays only; model, optimizer and shardings are static and stay outside.

    Attributes:
        step: number of steps done, int32.
        epoch: number of finished epochs, int32.
        seen: images of the running epoch that are done, int32; with epoch, the position in the data.
        params: trainable parameters.
        model_state: the model's other collections: batch_stats, or nothing.
        opt_state: of the optax optimizer.
        metrics: the running epoch's sums by level, reset at an epoch's start.
        guard: counts of skipped updates, and sums of norms (see guard.py).
        average: params and model_state, averaged over the steps (see averaging.py); empty if nothing is averaged.
    """

    step: Array
    epoch: Array
    seen: Array
    params: Any
    model_state: Any
    opt_state: optax.OptState
    metrics: Any
    guard: dict[str, Array]
    average: dict[str, Any] = struct.field(default_factory=dict)

    def saved(self) -> dict[str, Any]:
        """Returns the fields that a checkpoint has: an empty average is absent.

        So the checkpoints of runs without one are those of versions that had no such field.
        """
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in fields.items() if name != "average" or value}

    @property
    def eval_variables(self) -> tuple[Any, Any]:
        """The params and model_state of evaluation and prediction: their averages if the run averages."""
        if self.average:
            return self.average["params"], self.average["model_state"]
        return self.params, self.model_state


def init_train_state(
    model: MultiHeadModel,
    optimizer: optax.GradientTransformation,
    num_classes: dict[str, int],
    images: Array,
    seed: int,
    *,
    is_averaged: bool = False,
) -> TrainState:
    """Returns a new state, a pure function of the seed.

    Args:
        model: the network.
        optimizer: of its parameters.
        num_classes: level -> number of classes.
        images: [batch, height, width, 3], which give shapes and dtypes.
        seed: of the parameters.
        is_averaged: whether it holds averages of the parameters and statistics.
    """
    variables = dict(model.init({"params": jax.random.key(seed)}, images, train=False))
    params = variables.pop("params")
    none = jnp.zeros((), jnp.int32)
    return TrainState(
        step=none,
        epoch=none,
        seen=none,
        params=params,
        model_state=variables,
        opt_state=optimizer.init(params),
        metrics=init_accumulators(num_classes, jnp.promote_types(images.dtype, jnp.float32)),
        guard=init_guard(jnp.promote_types(images.dtype, jnp.float32)),
        average={"params": params, "model_state": variables} if is_averaged else {},
    )


def create_train_state(init: Callable[[], TrainState], mesh: Mesh) -> TrainState:
    """Creates the state that `init` returns directly on every device of the mesh."""
    return jax.jit(init, out_shardings=replicated(mesh), compiler_options=compiler_options(mesh, once=True))()


def abstract_train_state(init: Callable[[], TrainState], mesh: Mesh) -> TrainState:
    """Returns the shapes, dtypes and shardings of the state of `init`, onto which a checkpoint is restored."""
    shapes = jax.eval_shape(init)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated(mesh)), shapes)


def abstract_batch(batch_size: int, levels: Iterable[str], mesh: Mesh, canvas: tuple[int, int]) -> dict[str, Any]:
    """Returns the shapes, dtypes and shardings of the train step's batch, with canvases of (height, width)."""

    def spread(shape: tuple[int, ...], dtype: str) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((batch_size, *shape), dtype, sharding=batch_sharding(mesh))

    labels = {level: spread((), "int32") for level in levels}
    return {"image": spread((*canvas, 3), "uint8"), "labels": labels}
