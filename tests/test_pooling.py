"""The poolings of a ResNet's stem and of VGG agree with XLA's own."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fashion_jax.ops.pooling import max_pool2x2, max_pool3x3
from tests.gradients import value_and_gradients
from tests.plain_pooling import plain

POOLS = {2: max_pool2x2, 3: max_pool3x3}


@pytest.mark.parametrize("size", POOLS)
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        *((shape, "float32") for shape in [(2, 2), (3, 2), (5, 5), (8, 7), (16, 16)]),
        *((shape, "bfloat16") for shape in [(5, 5), (8, 7)]),
    ],
)
def test_value_and_gradient_equal_the_plain_op_ties_included(size, shape, dtype):
    check(size, (3, *shape, 5), dtype)


@pytest.mark.parametrize("shape", [(1, 1), (1, 4)])
def test_the_stem_pools_single_pixels_too(shape):
    check(3, (2, *shape, 5), "float32")


def check(size, shape, dtype):
    rng = np.random.default_rng(0)
    x = jnp.asarray(np.maximum(rng.integers(-3, 4, shape), 0), dtype)  # mostly ties, as after a ReLU
    g = jnp.asarray(rng.integers(-8, 9, jax.eval_shape(partial(plain, size=size), x).shape), dtype)  # sums are exact
    results = [value_and_gradients(op, g, x) for op in (POOLS[size], partial(plain, size=size))]
    for value, reference in zip(*map(jax.tree.leaves, results), strict=True):
        assert value.dtype == dtype
        np.testing.assert_array_equal(value, reference)


@pytest.mark.parametrize("pool", POOLS.values())
def test_only_tpus_scatter(pool):
    traced = jax.jit(jax.grad(lambda x: jnp.sum(pool(x)))).trace(jnp.zeros((2, 8, 8, 4)))
    lowered = {name: traced.lower(lowering_platforms=(name,)).as_text() for name in ("cpu", "cuda", "rocm", "tpu")}
    assert [name for name, text in lowered.items() if "scatter" in text] == ["tpu"]
