"""Rematerialization policies: what the forward pass keeps for the backward pass; everything else is recomputed."""

from collections.abc import Callable
from typing import Any

import jax

_PRODUCTS = ("conv_general_dilated", "dot_general")

_SUMS = ("reduce_sum",)  # BatchNorm's statistics: small, and computed by a collective if the batch is spread


def _keeps(*primitives: str) -> Callable[..., bool]:
    return lambda primitive, *_, **__: primitive.name in primitives


KEEP_PRODUCTS = _keeps(*_PRODUCTS, *_SUMS)

KEEP_STATISTICS = _keeps(*_SUMS)


def with_remat(compute: Callable[..., Any], remat: str) -> Callable[..., Any]:
    """Applies config.remat to a loss: "dots" keeps products and sums; "blocks" is applied in the model itself."""
    return jax.checkpoint(compute, policy=KEEP_PRODUCTS) if remat == "dots" else compute
