"""Normalisation over a batch agrees with its plain formula, differentiated by JAX."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fashion_jax.devices.mesh import batch_sharding, create_mesh, replicated
from fashion_jax.ops import normalization
from fashion_jax.ops.normalization import largest_normalized, normalize, normalize_pooled
from fashion_jax.ops.pooling import max_pool3x3
from tests.gradients import value_and_gradients

EPSILON = 1e-5


def plain(x, scale, bias):
    axes = tuple(range(1, x.ndim - 1))
    mean = x.mean(axes, keepdims=True)
    var = jnp.square(x - mean).mean(axes, keepdims=True)
    y = (x - mean) * (scale / jnp.sqrt(var + EPSILON)) + bias
    return y, mean.reshape(len(x), -1), var.reshape(len(x), -1)


# No two pixels: of them the gradient is zero but for epsilon, and what remains is rounding.
SHAPES = [(1, 8, 8, 8, 5), (2, 3, 7, 5, 4), (1, 1, 1, 5, 3), (2, 4, 6), (1, 32, 11, 3, 2)]


@pytest.mark.parametrize(
    ("shape", "dtype", "tolerance"),
    [*((shape, "float64", 1e-12) for shape in SHAPES), ((2, 3, 7, 5, 4), "float32", 1e-5)],
)
def test_values_and_gradients_equal_the_plain_formula(shape, dtype, tolerance):
    rng = np.random.default_rng(0)
    with jax.enable_x64(dtype == "float64"):
        x, g = (jnp.asarray(rng.normal(0.5, 2, shape), dtype) for _ in range(2))
        scale, bias, shift = (jnp.asarray(rng.normal(size=shape[-1]), dtype) for _ in range(3))
        zeros = jnp.zeros((shape[0], shape[-1]), dtype)
        given = (g, zeros, zeros), x, scale, bias
        values, ours = value_and_gradients(lambda *arrays: normalize(*arrays, shift, EPSILON), *given)
        expected, theirs = value_and_gradients(plain, *given)
        for value, reference in zip((*values, *ours), (*expected, *theirs), strict=True):
            assert (value.shape, value.dtype) == (reference.shape, reference.dtype)
            assert float(jnp.abs(value - reference).max()) <= tolerance * float(jnp.abs(reference).max())


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [pytest.param("float32", 1e-5, marks=pytest.mark.long), ("float64", 1e-12)]
)
@pytest.mark.parametrize("shape", [(1, 4, 8, 8, 6), (2, 3, 7, 5, 4), (1, 1, 5, 3, 6)])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("platform", ["cpu", "other"])
def test_pooled_equals_normalised_rectified_and_pooled(shape, dtype, tolerance, ties, platform, monkeypatch):
    """Scales have both signs; in some cases values of x are equal, or none is above zero."""
    if platform == "other":
        monkeypatch.setattr(normalization, "_normalize_then_pool", normalization._pool_then_normalize)
    rng, shift_rng = map(np.random.default_rng, (0, 1))  # the shift is part of the program: ties do not change it

    def pooled(x, *arrays):
        y, mean, var = normalize_pooled(max_pool3x3, x, *arrays, shift, EPSILON)
        return jax.nn.relu(y), mean, var

    def in_order(x, *arrays):
        y, mean, var = plain(x, *arrays)
        y = max_pool3x3(jax.nn.relu(y).reshape(-1, *x.shape[2:]))
        return y.reshape(*x.shape[:2], *y.shape[1:]), mean, var

    with jax.enable_x64(dtype == "float64"):
        x = jnp.asarray(rng.integers(-2, 3, shape) if ties else rng.normal(0.5, 2, shape), dtype)
        scale, bias = (jnp.asarray(rng.normal(size=shape[-1]), dtype) for _ in range(2))
        shift = jnp.asarray(shift_rng.normal(size=shape[-1]), dtype)
        small = (*shape[:2], *(-(-side // 2) for side in shape[2:4]), shape[-1])
        zeros = jnp.zeros((shape[0], shape[-1]), dtype)
        given = (jnp.asarray(rng.normal(size=small), dtype), zeros, zeros), x, scale, bias
        assert (scale < 0).any() and (scale > 0).any()
        values, ours = value_and_gradients(pooled, *given)
        expected, theirs = value_and_gradients(in_order, *given)
        for value, reference in zip((*values, *ours), (*expected, *theirs), strict=True):
            assert (value.shape, value.dtype) == (reference.shape, reference.dtype)
            assert float(jnp.abs(value - reference).max()) <= tolerance * float(jnp.abs(reference).max())


def test_the_largest_normalised_are_the_smallest_where_the_scale_is_negative():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 4, 2)), jnp.float32)
    pool = jax.jit(max_pool3x3)
    taken = jax.jit(partial(largest_normalized, max_pool3x3))(x, jnp.asarray([0.5, -0.5]))
    np.testing.assert_array_equal(taken[..., 0], pool(x)[..., 0])
    np.testing.assert_array_equal(taken[..., 1], -pool(-x)[..., 1])


@pytest.mark.parametrize("platform", ["cpu", "other"])
def test_a_scale_of_zero_still_learns(platform, monkeypatch):
    if platform == "other":
        monkeypatch.setattr(normalization, "_normalize_then_pool", normalization._pool_then_normalize)
    x, zeros = jnp.asarray(np.random.default_rng(0).normal(size=(1, 2, 6, 4, 3)), jnp.float32), jnp.zeros(3)
    gradient = jax.grad(lambda scale: normalize_pooled(max_pool3x3, x, scale, zeros, zeros, EPSILON)[0].sum())
    assert (np.abs(jax.jit(gradient)(zeros)) > 0.1).all()


def test_a_shift_near_the_mean_keeps_the_variance():
    x = (1000 + np.random.default_rng(0).normal(size=(1, 4096, 1))).astype(np.float32)
    one, zero, near = (np.full(1, value, np.float32) for value in (1, 0, 1000.5))
    assert float(jax.jit(normalize)(x, one, zero, near, EPSILON)[2][0, 0]) == pytest.approx(float(x.var()), rel=1e-4)


def test_bfloat16_is_normalised_in_float32():
    x = jnp.asarray(np.random.default_rng(0).normal(3, 2, (1, 8, 4, 4, 2)), jnp.bfloat16)
    one, zero = jnp.ones(2), jnp.zeros(2)
    y, mean, var = jax.jit(normalize)(x, one, zero, zero, EPSILON)
    wide = np.asarray(x, np.float32)
    assert (y.dtype, mean.dtype, var.dtype) == (jnp.bfloat16, jnp.float32, jnp.float32)
    np.testing.assert_allclose(mean[0], wide.mean((0, 1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(var[0], wide.var((0, 1, 2, 3)), rtol=1e-4)


def test_neither_direction_waits_for_a_sum_to_take_the_next():
    """Each direction has two sums over the devices, which XLA combines on TPU and GPU."""
    mesh = create_mesh()
    spread, everywhere = batch_sharding(mesh), replicated(mesh)

    def loss(x, scale, bias, shift):
        y, mean, var = normalize(x[None], scale, bias, shift, EPSILON)
        return jnp.square(y).sum(), (mean, var)

    gradient = jax.jit(
        jax.grad(loss, argnums=(0, 1, 2), has_aux=True), in_shardings=(spread, everywhere, everywhere, everywhere)
    )
    shapes = [jax.ShapeDtypeStruct(s, np.float32) for s in ((16, 3, 3, 4), (4,), (4,), (4,))]
    assert gradient.lower(*shapes).compile().as_text().count(" all-reduce(") <= 4
