"""What training changes from step to step, and nothing else."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array
from jax.sharding import Mesh
from ml_collections import ConfigDict

from fashion_jax.config.loading import image_shape
from fashion_jax.devices.compiler import compiler_options
from fashion_jax.devices.mesh import batch_sharding, replicated
from fashion_jax.models import Classifier
from fashion_jax.step.guard import init_guard
from fashion_jax.step.metrics import init_accumulators
from fashion_jax.taxonomy import Taxonomy


class TrainState(struct.PyTreeNode):
    """Arrays only; model, optimizer and shardings are static and stay outside.

    Attributes:
        step: steps done, int32.
        epoch: epochs that are over, int32.
        seen: images of the running epoch that are done, int32: with epoch, the place in the data.
        params: trainable parameters.
        model_state: the model's other collections: batch_stats, or nothing.
        opt_state: of the optax optimizer.
        metrics: the running epoch's sums by level, reset as an epoch starts.
        guard: counts of skipped updates, and sums of norms (see guard.py).
    """

    step: Array
    epoch: Array
    seen: Array
    params: Any
    model_state: Any
    opt_state: optax.OptState
    metrics: Any
    guard: dict[str, Array]


def create_train_state(
    config: ConfigDict, model: Classifier, tx: optax.GradientTransformation, taxonomy: Taxonomy, mesh: Mesh
) -> TrainState:
    """A new state, a pure function of config.seed, born on every device of the mesh."""
    init = _initializer(config, model, tx, taxonomy)
    return jax.jit(init, out_shardings=replicated(mesh), compiler_options=compiler_options(mesh, once=True))()


def abstract_train_state(
    config: ConfigDict, model: Classifier, tx: optax.GradientTransformation, taxonomy: Taxonomy, mesh: Mesh
) -> TrainState:
    """Shapes, types and shardings of what create_train_state makes: what a checkpoint is restored onto."""
    shapes = jax.eval_shape(_initializer(config, model, tx, taxonomy))
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated(mesh)), shapes)


def abstract_batch(config: ConfigDict, taxonomy: Taxonomy, mesh: Mesh, canvas: tuple[int, int]) -> dict[str, Any]:
    """Shapes, types and shardings of a batch of images on canvases of (height, width), as the train step takes it."""

    def spread(shape: tuple[int, ...], dtype: str) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((config.batch_size, *shape), dtype, sharding=batch_sharding(mesh))

    labels = {level: spread((), "int32") for level in taxonomy.levels}
    return {"image": spread((*canvas, 3), "uint8"), "labels": labels}


def _initializer(
    config: ConfigDict, model: Classifier, tx: optax.GradientTransformation, taxonomy: Taxonomy
) -> Callable[[], TrainState]:
    dtype = jnp.dtype(config.dtype)
    sizes = {level: taxonomy.num_classes(level) for level in taxonomy.levels}

    def init() -> TrainState:
        images = jnp.zeros((2, *image_shape(config), 3), dtype)
        variables = dict(model.init({"params": jax.random.key(config.seed)}, images, train=False))
        params = variables.pop("params")
        none = jnp.zeros((), jnp.int32)
        return TrainState(
            step=none,
            epoch=none,
            seen=none,
            params=params,
            model_state=variables,
            opt_state=tx.init(params),
            metrics=init_accumulators(sizes, jnp.promote_types(dtype, jnp.float32)),
            guard=init_guard(jnp.promote_types(dtype, jnp.float32)),
        )

    return init
