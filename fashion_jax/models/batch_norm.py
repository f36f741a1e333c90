"""Batch normalisation with PyTorch's semantics; the only place that knows its modes and precision."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from fashion_jax.models.learning_rate_factors import NO_FACTORS, LearningRateFactors
from fashion_jax.ops.normalization import largest_normalized, normalize, normalize_pooled

DECAY = 0.9  # of the running statistics; PyTorch calls 1 - DECAY "momentum"
EPSILON = 1e-5


class BatchNorm(nn.Module):
    """Normalises the last axis over all the others, as torch.nn.BatchNorm2d and BatchNorm1d do.

    Training normalises with the biased variance of the batch and moves the running variance towards the unbiased one.
    Statistics are at least float32, whatever the type of the input.

    Attributes:
        num_groups: the batch is cut into this many groups of consecutive images, each with its own statistics; 1 means
            the whole (global) batch. The running statistics move towards the mean over the groups.
        factors: on the learning rates of the model's parameters; frozen, the module is in evaluation mode in training.
        pool: a maximum pooling of the normalised [batch, height, width, channels]; None for no pooling.
    """

    num_groups: int = 1
    factors: LearningRateFactors = NO_FACTORS
    pool: Callable[[Array], Array] | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Normalises x [batch, ..., channels]; returns the type of x and its shape, or that of the pooled maxima."""
        dtype = jnp.promote_types(x.dtype, jnp.float32)
        features = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (features,), dtype)
        bias = self.param("bias", nn.initializers.zeros, (features,), dtype)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (features,), dtype)
        running_var = self.variable("batch_stats", "var", jnp.ones, (features,), dtype)
        if not train or self.factors.is_frozen(*self.path, "scale"):
            taken = largest_normalized(self.pool, x, scale) if self.pool else x
            factor = scale / jnp.sqrt(running_var.value + EPSILON)
            return ((taken.astype(dtype) - running_mean.value) * factor + bias).astype(x.dtype)

        groups = x.reshape(self.num_groups, -1, *x.shape[1:])
        operation = partial(normalize_pooled, self.pool) if self.pool else normalize
        y, mean, var = operation(groups, scale, bias, running_mean.value, EPSILON)
        if not self.is_initializing():
            count = groups.size // (self.num_groups * features)
            unbiased = var * (count / max(count - 1, 1))
            running_mean.value = _moved(running_mean.value, mean)
            running_var.value = _moved(running_var.value, unbiased)
        return y.reshape(-1, *y.shape[2:])


def _moved(running: Array, batch: Array) -> Array:
    return DECAY * running + (1 - DECAY) * batch.mean(0)
