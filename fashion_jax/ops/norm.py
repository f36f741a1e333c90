"""The norm of all parameters' gradients, lowered well on every platform."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

_ROWS = 64  # added up at a time: some hundred kilobytes


def global_norm(tree: Any) -> Array:
    """The root of the sum of all squares, of the widest type in a tree of arrays."""
    return jnp.sqrt(sum(lax.platform_dependent(x, cpu=_by_blocks, default=_plain) for x in jax.tree.leaves(tree)))


def _plain(x: Array) -> Array:
    return jnp.sum(jnp.square(x))


def _by_blocks(x: Array) -> Array:
    """The sum of squares of x, some rows after the other.

    XLA's CPU backend writes the squares of a large array to memory and adds them up window by window; this adds up
    whole rows, which is the processor's vector instruction, and reads the array once.
    """
    rows = x.reshape(-1, x.shape[-1]) if x.ndim else x.reshape(1, 1)
    size = math.gcd(len(rows), _ROWS)
    blocks = rows.reshape(-1, size, rows.shape[1])
    return lax.scan(lambda total, block: (total + jnp.square(block), None), jnp.zeros_like(blocks[0]), blocks)[0].sum()
