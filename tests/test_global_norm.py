"""The norm of gradients agrees with optax's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fashion_jax.step.global_norm import global_norm


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-14)])
def test_the_norm_is_optax_s(dtype, tolerance):
    rng = np.random.default_rng(0)
    shapes = [(), (1,), (7,), (3, 3, 3, 64), (130, 21), (3, 3, 16, 8), (256, 100)]
    with jax.enable_x64(dtype == "float64"):
        tree = [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]
        norm = jax.jit(global_norm)(tree)
        assert norm.dtype == dtype and norm.shape == ()
        assert norm == pytest.approx(float(optax.tree.norm(tree)), rel=tolerance)
        assert np.isnan(jax.jit(global_norm)([*tree, jnp.asarray([1.0, jnp.nan])]))


def test_only_the_cpu_goes_block_by_block():
    lowered = jax.jit(global_norm).trace([jnp.zeros((128, 4))])
    assert "stablehlo.while" in lowered.lower(lowering_platforms=("cpu",)).as_text()
    assert "stablehlo.while" not in lowered.lower(lowering_platforms=("tpu",)).as_text()
