"""The norm of all parameters' gradients, lowered well on every platform."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

_ROWS = 64  # added up at a time: some hundred kilobytes


def global_norm(tree: Any) -> Array:
    """The root of the sum of all squares, of the widest type in a tree of arrays."""
    return jnp.sqrt(lax.platform_dependent(*jax.tree.leaves(tree), cpu=_on_cpu, default=_plain))


def _plain(*leaves: Array) -> Array:
    return sum(jnp.sum(jnp.square(x)) for x in leaves)


def _on_cpu(*leaves: Array) -> Array:
    # The vectors are small and many: as one they are compiled sooner.
    vectors = [x.reshape(-1) for x in leaves if x.ndim < 2]
    total = _plain(jnp.concatenate(vectors)) if vectors else 0
    return sum((_by_blocks(x) for x in leaves if x.ndim > 1), total)


def _by_blocks(x: Array) -> Array:
    """The sum of squares of x, some rows after the other.

    XLA's CPU backend writes the squares of a large array to memory and adds them up window by window; this adds up
    whole rows, which is the processor's vector instruction, and reads the array once.
    """
    rows = x.reshape(-1, x.shape[-1])
    size = math.gcd(len(rows), _ROWS)
    blocks = rows.reshape(-1, size, rows.shape[1])
    return lax.scan(lambda total, block: (total + jnp.square(block), None), jnp.zeros_like(blocks[0]), blocks)[0].sum()
