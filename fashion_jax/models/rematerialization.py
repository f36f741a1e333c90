"""What the forward pass keeps for the backward pass; what it does not keep is computed again."""

from collections.abc import Callable
from typing import Any

import jax

_PRODUCTS = ("conv_general_dilated", "dot_general")

_SUMS = ("reduce_sum",)  # of BatchNorm's statistics: small, and a collective where the batch is spread


def _keeps(*primitives: str) -> Callable[..., bool]:
    return lambda primitive, *_, **__: primitive.name in primitives


KEEP_PRODUCTS = _keeps(*_PRODUCTS, *_SUMS)

KEEP_STATISTICS = _keeps(*_SUMS)


def with_remat(compute: Callable[..., Any], remat: str) -> Callable[..., Any]:
    """A loss that keeps what config.remat says; blocks, which the model itself cuts, are left to it."""
    return jax.checkpoint(compute, policy=KEEP_PRODUCTS) if remat == "dots" else compute
