"""What the tests of operations compare: values and gradients, compiled as one program instead of one per primitive."""

from collections.abc import Callable
from typing import Any

import jax


def value_and_gradients(op: Callable[..., Any], cotangents: Any, *arrays: jax.Array) -> tuple[Any, tuple[Any, ...]]:
    """What op makes of the arrays, and the gradients with respect to each of them."""

    def both(cotangents, *arrays):
        values, pullback = jax.vjp(op, *arrays)
        return values, pullback(cotangents)

    return jax.jit(both)(cotangents, *arrays)
