"""What training changes from step to step, and nothing else."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array
from jax.sharding import Mesh
from ml_collections import ConfigDict

from fashion_jax.hierarchy import Taxonomy
from fashion_jax.metrics import init_accumulators
from fashion_jax.models import Classifier
from fashion_jax.sharding import replicated


class TrainState(struct.PyTreeNode):
    """Arrays only; model, optimizer and shardings are static and stay outside.

    Attributes:
        step: steps done, int32.
        params: trainable parameters.
        model_state: the model's other collections: batch_stats, or nothing.
        opt_state: of the optax optimizer.
        metrics: the running epoch's sums by level, reset as an epoch starts.
    """

    step: Array
    params: Any
    model_state: Any
    opt_state: optax.OptState
    metrics: Any


def create_train_state(
    config: ConfigDict, model: Classifier, tx: optax.GradientTransformation, taxonomy: Taxonomy, mesh: Mesh
) -> TrainState:
    """A new state, a pure function of config.seed, born on every device of the mesh."""
    dtype = jnp.dtype(config.dtype)
    images = jnp.zeros((2, *image_shape(config), 3), dtype)

    def init() -> TrainState:
        key = jax.random.key(config.seed)
        variables = dict(model.init({"params": key}, images, train=False))
        params = variables.pop("params")
        sizes = {level: taxonomy.num_classes(level) for level in taxonomy.levels}
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            model_state=variables,
            opt_state=tx.init(params),
            metrics=init_accumulators(sizes, jnp.promote_types(dtype, jnp.float32)),
        )

    return jax.jit(init, out_shardings=replicated(mesh))()


def image_shape(config: ConfigDict) -> tuple[int, int]:
    """(height, width) of what the network sees."""
    size = config.image_size
    return (size, size) if isinstance(size, int) else tuple(size)
