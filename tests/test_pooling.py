"""The pooling of a ResNet's stem against XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fashion_jax.ops.pooling import max_pool3x3


def plain(x):
    padding = ((0, 0), (1, 1), (1, 1), (0, 0))
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), padding)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (1, 4), (3, 2), (5, 5), (8, 7), (16, 16)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_value_and_gradient_equal_the_plain_op_ties_included(batch, shape, dtype):
    rng = np.random.default_rng(0)
    x = jnp.asarray(np.maximum(rng.integers(-3, 4, (batch, *shape, 5)), 0), dtype)  # mostly ties, as after a ReLU
    y, gradient = jax.vjp(max_pool3x3, x)
    expected, reference = jax.vjp(plain, x)
    np.testing.assert_array_equal(y, expected)
    g = jnp.asarray(rng.integers(-8, 9, y.shape), dtype)  # sums of which are exact
    assert gradient(g)[0].dtype == dtype
    np.testing.assert_array_equal(gradient(g)[0], reference(g)[0])


def test_the_cpu_does_not_scatter_and_others_do():
    lowered = jax.jit(jax.grad(lambda x: jnp.sum(max_pool3x3(x)))).trace(jnp.zeros((2, 8, 8, 4)))
    scatter = "stablehlo.select_and_scatter"
    assert scatter not in lowered.lower(lowering_platforms=("cpu",)).as_text()
    assert scatter in lowered.lower(lowering_platforms=("tpu",)).as_text()
