"""BatchNorm agrees with NumPy in all its modes."""

import jax
import numpy as np
import pytest

from fashion_jax.devices.mesh import create_mesh, put_batch
from fashion_jax.models.batch_norm import BatchNorm
from fashion_jax.models.classifier import create_model
from fashion_jax.taxonomy import Taxonomy


def apply(x: np.ndarray, num_groups: int = 1, train: bool = True):
    layer = BatchNorm(num_groups)
    variables = layer.init(jax.random.key(0), x[:2], train=False)
    return layer.apply(variables, x, train=train, mutable=["batch_stats"])


def images(size: int = 16) -> np.ndarray:
    return np.random.default_rng(0).normal(3, 2, (size, 3, 3, 5)).astype(np.float32)


def test_normalises_with_the_biased_variance_and_keeps_the_unbiased_one():
    x = images()
    y, state = apply(x)
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(var + 1e-5), atol=1e-5)
    np.testing.assert_allclose(state["batch_stats"]["mean"], 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(state["batch_stats"]["var"], 0.9 + 0.1 * x.var((0, 1, 2), ddof=1), rtol=1e-5)


def test_evaluation_uses_and_keeps_the_running_statistics():
    x = images()
    y, state = apply(x, train=False)
    np.testing.assert_allclose(y, x / np.sqrt(1 + 1e-5), rtol=1e-5)
    np.testing.assert_array_equal(state["batch_stats"]["mean"], 0)


@pytest.mark.parametrize("num_groups", [2, 8])
def test_groups_are_normalised_on_their_own(num_groups):
    x = images()
    y, state = apply(x, num_groups)
    parts = [apply(part) for part in np.split(x, num_groups)]
    np.testing.assert_allclose(y, np.concatenate([part[0] for part in parts]), atol=1e-5)
    for name in ("mean", "var"):
        expected = np.mean([part[1]["batch_stats"][name] for part in parts], axis=0)
        np.testing.assert_allclose(state["batch_stats"][name], expected, rtol=1e-5)


def test_a_group_per_device_needs_no_communication_to_normalise():
    mesh = create_mesh()
    x = put_batch({"x": images()}, mesh)["x"]
    alone, together = (jax.jit(lambda x, n=n: apply(x, n)[0]).lower(x).compile().as_text() for n in (mesh.size, 1))
    assert "all-reduce" in together and "all-reduce" not in alone


def test_statistics_of_bfloat16_are_float32():
    y, state = apply(images().astype(jax.numpy.bfloat16))
    assert y.dtype == jax.numpy.bfloat16
    assert state["batch_stats"]["var"].dtype == np.float32


@pytest.mark.parametrize(("mode", "num_groups"), [("global", 1), ("group", 4), ("local", 8)])
def test_modes_of_the_config(tiny_config, mode, num_groups):
    tiny_config.batch_norm, tiny_config.batch_norm_group_size = mode, 4
    model = create_model(tiny_config, Taxonomy.from_paths(("main", "sub"), [("a", "b")]), create_mesh())
    norms = [model.trunk.norm, *(head.norm for head in model.heads.values())]
    assert {norm().num_groups for norm in norms} == {num_groups}
