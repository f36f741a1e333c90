"""Computes values and gradients for the tests of operations, as one program instead of one per primitive."""

from collections.abc import Callable
from typing import Any

import jax


def value_and_gradients(op: Callable[..., Any], cotangents: Any, *arrays: jax.Array) -> tuple[Any, tuple[Any, ...]]:
    """Returns op's value at the arrays, and the gradients with respect to each of them."""

    def both(cotangents, *arrays):
        values, pullback = jax.vjp(op, *arrays)
        return values, pullback(cotangents)

    return jax.jit(both)(cotangents, *arrays)
