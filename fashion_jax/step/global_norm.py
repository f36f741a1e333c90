"""Computes the norm of all parameters' gradients, in a form that compiles well on every platform."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

_ROWS = 64  # added up at a time, some hundred kilobytes


def global_norm(tree: Any) -> Array:
    """Returns the square root of the sum of all squares in a tree, in the widest dtype of its arrays."""
    return jnp.sqrt(lax.platform_dependent(*jax.tree.leaves(tree), cpu=_on_cpu, default=_plain))


def _plain(*leaves: Array) -> Array | int:  # 0 of no leaves
    return sum(jnp.sum(jnp.square(x)) for x in leaves)


def _on_cpu(*leaves: Array) -> Array | int:
    # The vectors are small and many: concatenated, they compile faster.
    vectors = [x.reshape(-1) for x in leaves if x.ndim < 2]
    total = _plain(jnp.concatenate(vectors)) if vectors else 0
    return sum((_by_blocks(x) for x in leaves if x.ndim > 1), total)


def _by_blocks(x: Array) -> Array:
    """Returns the sum of squares of x, adding up blocks of rows one after the other.

    XLA's CPU backend writes the squares of a large array to memory and adds them up window by window; this adds up
    whole rows, which is the processor's vector instruction, and reads the array once.
    """
    rows = x.reshape(-1, x.shape[-1])
    size = math.gcd(len(rows), _ROWS)
    blocks = rows.reshape(-1, size, rows.shape[1])
    return lax.scan(lambda total, block: (total + jnp.square(block), None), jnp.zeros_like(blocks[0]), blocks)[0].sum()
