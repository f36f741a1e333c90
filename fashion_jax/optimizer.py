"""SGD with momentum and the learning rate of each epoch, with PyTorch's semantics."""

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from ml_collections import ConfigDict


def learning_rates(config: ConfigDict) -> np.ndarray:
    """The learning rate of each epoch, float64 [num_epochs].

    cosine is torch.optim.lr_scheduler.CosineAnnealingLR with T_max = num_epochs, exponential is
    ExponentialLR with gamma = learning_rate_decay, both stepped once per epoch.
    """
    epochs = np.arange(config.num_epochs)
    if config.schedule == "cosine":
        return config.learning_rate * (1 + np.cos(np.pi * epochs / config.num_epochs)) / 2
    return config.learning_rate * config.learning_rate_decay**epochs


def create_optimizer(config: ConfigDict, steps_per_epoch: int) -> optax.GradientTransformation:
    """torch.optim.SGD: the decay is added to the gradient of every parameter before the momentum."""
    return optax.chain(
        optax.add_decayed_weights(config.weight_decay),
        optax.sgd(partial(learning_rate, config, steps_per_epoch), momentum=config.momentum),
    )


def learning_rate(config: ConfigDict, steps_per_epoch: int, step: Array) -> Array:
    """The learning rate of a step."""
    rates = learning_rates(config)
    return jnp.asarray(rates)[jnp.minimum(step // steps_per_epoch, len(rates) - 1)]


def momentum(opt_state: optax.OptState) -> Any:
    """What SGD has accumulated, a tree as the parameters: times the learning rate, it is the last update."""
    return optax.tree.get(opt_state, "trace")
