"""Builds the program of a run: its model, its optimizer, and the jitted steps on the devices of a mesh."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from fashion_jax.config.fields import shape_of
from fashion_jax.config.loading import image_shape
from fashion_jax.models.classifier import create_model
from fashion_jax.models.learning_rate_factors import create_factors
from fashion_jax.step.class_balance import NO_BALANCE, create_class_balance
from fashion_jax.step.optimizer import create_optimizer
from fashion_jax.step.train_state import TrainState, abstract_train_state, create_train_state, init_train_state
from fashion_jax.step.train_step import StepParts, jit_eval_step, jit_train_step
from fashion_jax.taxonomy import Taxonomy


@dataclasses.dataclass(frozen=True)
class Program(StepParts):
    """The parts of the steps, and their jitted functions on the devices of the mesh."""

    @cached_property
    def train_step(self) -> jax.stages.Wrapped:
        """The jitted function of (state, batch), which returns the next state and the outcome of the step."""
        return jit_train_step(self)

    @cached_property
    def train_steps(self) -> jax.stages.Wrapped:
        """The jitted function of (state, batches [steps, batch, ...]), which runs several steps in one dispatch."""
        return jit_train_step(self, stacked=True)

    @cached_property
    def progressive(self) -> Program:
        """The program of the progressive epochs, in which images are trained at progressive.image_size."""
        return dataclasses.replace(self, shape=shape_of(self.config.progressive.image_size))

    @cached_property
    def eval_step(self) -> jax.stages.Wrapped:
        """The jitted function of (params, model_state, batch), which returns log-probabilities."""
        return jit_eval_step(self)

    @cached_property
    def abstract_state(self) -> TrainState:
        """The shapes, dtypes and shardings of a state, onto which a checkpoint is restored."""
        return abstract_train_state(self._init, self.mesh)

    def create_state(self) -> TrainState:
        """Creates a new state, a pure function of config.seed, on every device of the mesh."""
        return create_train_state(self._init, self.mesh)

    def _init(self) -> TrainState:
        images = jnp.zeros((2, *image_shape(self.config), 3), jnp.dtype(self.config.dtype))
        sizes = {level: self.taxonomy.num_classes(level) for level in self.taxonomy.levels}
        state = init_train_state(
            self.model,
            self.optimizer,
            sizes,
            images,
            self.config.seed,
            is_averaged=self.config.average > 0,
        )
        self.factors.tree(state.params)  # checks them
        return state


def create_program(
    config: ConfigDict,
    taxonomy: Taxonomy,
    mesh: Mesh,
    *,
    num_images: int = 0,
    counts: Mapping[str, np.ndarray] | None = None,
) -> Program:
    """Creates the program of a checked config.

    Args:
        config: a checked config.
        taxonomy: its classes give the sizes of the heads.
        mesh: the devices that batches are spread over.
        num_images: images of an epoch; 0 if nothing is trained.
        counts: level -> training images of each class, all above 0; without them, classes are not balanced.
    """
    model = config.model
    factors = create_factors(model.name, model.frozen, config.learning_rate_factors, config.layer_decay)
    return Program(
        config=config,
        taxonomy=taxonomy,
        model=create_model(config, taxonomy, mesh, factors),
        optimizer=create_optimizer(config, factors),
        factors=factors,
        balance=NO_BALANCE if counts is None else create_class_balance(config, counts),
        num_images=num_images,
        shape=image_shape(config),
        mesh=mesh,
    )
