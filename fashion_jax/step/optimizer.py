"""Implements SGD with momentum and the learning rate of each epoch, with PyTorch's semantics."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from ml_collections import ConfigDict

from fashion_jax.models.classifier import trunk_paths


def learning_rates(config: ConfigDict) -> np.ndarray:
    """Returns the learning rate of each epoch, float64 [num_epochs].

    cosine is torch.optim.lr_scheduler.CosineAnnealingLR with T_max = num_epochs, exponential is
    ExponentialLR with gamma = learning_rate_decay, both stepped once per epoch.
    """
    epochs = np.arange(config.num_epochs)
    if config.schedule == "cosine":
        return config.learning_rate * (1 + np.cos(np.pi * epochs / config.num_epochs)) / 2
    return config.learning_rate * config.learning_rate_decay**epochs


def create_optimizer(config: ConfigDict) -> optax.GradientTransformation:
    """Creates torch.optim.SGD with a learning rate of 1; the step multiplies its updates by the epoch's learning rate.

    The weight decay is added to the gradient of every parameter before the momentum. The parameters of frozen trunks
    have neither decay nor momentum, and no update.
    """
    sgd = optax.chain(optax.add_decayed_weights(config.weight_decay), optax.sgd(1.0, momentum=config.momentum))
    if not config.model.frozen:
        return sgd
    frozen = [trunk_paths(config.model.name)[name] for name in config.model.frozen]
    return optax.partition({"trained": sgd, "frozen": optax.set_to_zero()}, partial(_labels, frozen))


def _labels(frozen: Sequence[tuple[str, ...]], params: Any) -> Any:
    """Labels each parameter as trained, or as frozen if it is below one of the paths."""

    def label(path: tuple[Any, ...], _: Any) -> str:
        names = tuple(key.key for key in path)
        return "frozen" if any(names[: len(trunk)] == trunk for trunk in frozen) else "trained"

    return jax.tree.map_with_path(label, params)


def learning_rate(rates: np.ndarray, epoch: Array) -> Array:
    """Returns the learning rate of an epoch, counted from 0, as `rates` [num_epochs] has it."""
    return jnp.asarray(rates)[jnp.minimum(epoch, len(rates) - 1)]


def momentum(opt_state: optax.OptState) -> Any:
    """Returns SGD's momentum, a tree like the trained parameters; times the learning rate, it is the last update."""
    return optax.tree.get(opt_state, "trace")
