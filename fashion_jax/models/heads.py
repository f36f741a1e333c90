"""Heads: map the features of a trunk to the logits of one label level, always at least float32."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax

from fashion_jax.models.layers import linear, param_dtype

LAST_LAYER = "logits"  # of each head


class LinearHead(nn.Module):
    """A single linear layer."""

    num_classes: int
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps features [batch, features] to logits [batch, num_classes]."""
        del train
        return linear(self.num_classes, x, dtype=param_dtype(x.dtype), name=LAST_LAYER)


class MainHead(nn.Module):
    """The recipe's head of the main task: Linear 128, BatchNorm, ReLU, Linear."""

    num_classes: int
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps features [batch, features] to logits [batch, num_classes]."""
        x = linear(128, x, name="linear1")
        x = nn.relu(self.norm(name="bn1")(x, train=train))
        return linear(self.num_classes, x, dtype=param_dtype(x.dtype), name=LAST_LAYER)


class SubHead(nn.Module):
    """The recipe's head of the sub task: twice Linear (256, 128), BatchNorm, ReLU, Dropout 0.3; then Linear."""

    num_classes: int
    norm: Callable[..., nn.Module]
    dropout: float = 0.3

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps features [batch, features] to logits [batch, num_classes]."""
        for i, features in enumerate((256, 128)):
            x = linear(features, x, name=f"linear{i + 1}")
            x = nn.relu(self.norm(name=f"bn{i + 1}")(x, train=train))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return linear(self.num_classes, x, dtype=param_dtype(x.dtype), name=LAST_LAYER)


class ClassifierHead(nn.Module):
    """torchvision's classifier of VGG-16: twice Linear 4096, ReLU, Dropout 0.5; then Linear; weights N(0, 0.01)."""

    num_classes: int
    norm: Callable[..., nn.Module]
    dropout: float = 0.5

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps features [batch, features] to logits [batch, num_classes]."""
        for i in range(2):
            x = nn.relu(self._dense(4096, x.dtype, f"linear{i + 1}")(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return self._dense(self.num_classes, param_dtype(x.dtype), LAST_LAYER)(x)

    def _dense(self, features: int, dtype: jnp.dtype, name: str) -> nn.Dense:
        return nn.Dense(
            features,
            dtype=dtype,
            param_dtype=param_dtype(dtype),
            kernel_init=nn.initializers.normal(0.01),
            name=name,
        )


class ParentCondition(nn.Module):
    """Adds W p to the logits of a level, where p are the probabilities of the parent level and W is zero at first.

    As in Condition-CNN (Kolisnik et al. 2021, https://doi.org/10.1016/j.eswa.2021.115195), p is the true class in
    training and the prediction afterwards. No gradient flows through a prediction, so the parent's head learns from its
    own labels only.
    """

    num_classes: int

    @nn.compact
    def __call__(self, parent_logits: Array, shares: Array | None) -> Array:
        """Returns what to add to the logits, [batch, num_classes].

        Args:
            parent_logits: [batch, parents].
            shares: [batch, parents], the true share of each parent in an image; the rest up to 1 is unknown and filled
                with the predicted probabilities. None means that all is unknown.
        """
        predicted = lax.stop_gradient(nn.softmax(parent_logits))
        p = predicted if shares is None else shares + (1 - shares.sum(-1, keepdims=True)) * predicted
        shape = p.shape[-1], self.num_classes
        return p @ self.param("kernel", nn.initializers.zeros, shape, p.dtype)


HEADS = {"main": MainHead, "sub": SubHead, "classifier": ClassifierHead, "linear": LinearHead}
