"""Normalisation by batch statistics, against its plain form and its gradient by JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fashion_jax.ops.normalization import EPSILON, normalize
from fashion_jax.sharding import batch_sharding, create_mesh, replicated


def plain(x, scale, bias, shift):
    axes = tuple(range(1, x.ndim - 1))
    wide = x.astype(scale.dtype)
    mean = wide.mean(axes, keepdims=True)
    var = jnp.square(wide - mean).mean(axes, keepdims=True)
    return ((wide - mean) * (scale / jnp.sqrt(var + EPSILON)) + bias).astype(x.dtype), mean, var


def arguments(dtype, shape=(2, 3, 5, 7, 4)):
    rng = np.random.default_rng(0)
    x = rng.normal(2, 3, shape).astype(dtype)
    return x, *(rng.normal(1, 0.5, shape[-1]).astype(dtype) for _ in range(3))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("shape", [(2, 3, 5, 7, 4), (1, 1, 3, 3, 2), (3, 5, 2)], ids=str)
def test_equals_the_plain_form_with_its_gradient(dtype, tolerance, shape):
    with jax.enable_x64(dtype == "float64"):
        inputs = arguments(dtype, shape)
        weights = np.random.default_rng(1).normal(size=shape).astype(dtype)

        def loss(function, *inputs):
            return (function(*inputs)[0] * weights).sum()

        for ours, theirs in (
            (normalize(*inputs), plain(*inputs)),
            *((jax.grad(loss, argnums=(1, 2, 3))(f, *inputs) for f in (normalize, plain)),),
        ):
            for a, b in zip(ours, theirs, strict=True):
                np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


def test_a_shift_near_the_mean_keeps_the_variance():
    x = (1000 + np.random.default_rng(0).normal(size=(1, 4096, 1))).astype(np.float32)
    one, zero, near = (np.full(1, value, np.float32) for value in (1, 0, 1000.5))
    assert float(normalize(x, one, zero, near)[2][0, 0, 0]) == pytest.approx(float(x.var()), rel=1e-4)


def test_forward_and_backward_take_a_collective_each():
    mesh = create_mesh()
    spread, everywhere = batch_sharding(mesh), replicated(mesh)

    def loss(x, scale, bias, shift):
        y, mean, var = normalize(x[None], scale, bias, shift)
        return jnp.square(y).sum(), (mean, var)

    gradient = jax.jit(
        jax.grad(loss, argnums=(0, 1, 2), has_aux=True), in_shardings=(spread, everywhere, everywhere, everywhere)
    )
    shapes = [jax.ShapeDtypeStruct(s, np.float32) for s in ((16, 3, 3, 4), (4,), (4,), (4,))]
    text = gradient.lower(*shapes).compile().as_text()
    assert text.count(" all-reduce(") <= 4  # two sums each way; XLA combines the two on TPU and GPU
