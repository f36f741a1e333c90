"""The convolution on tiny maps against XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fashion_jax.ops.convolution import conv3x3


def plain(x, kernel, stride):
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (1, 2), (2, 1), (3, 3), (4, 3), (5, 4), (4, 4)])
@pytest.mark.parametrize("stride", [1, 2])
def test_value_and_gradients_equal_the_plain_op(batch, shape, stride):
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        x = jnp.asarray(rng.normal(size=(batch, *shape, 5)))
        kernel = jnp.asarray(rng.normal(size=(3, 3, 5, 7)))

        def scalar(op, x, kernel):
            return jnp.sum(jnp.sin(op(x, kernel, stride)))

        y, expected = conv3x3(x, kernel, stride), plain(x, kernel, stride)
        assert y.shape == expected.shape
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-12 * float(jnp.abs(expected).max()))
        grads = [jax.grad(scalar, argnums=(1, 2))(op, x, kernel) for op in (conv3x3, plain)]
        for grad, reference in zip(*grads, strict=True):
            np.testing.assert_allclose(grad, reference, rtol=0, atol=1e-12 * float(jnp.abs(reference).max()))


def test_only_tiny_maps_on_the_cpu_become_a_product():
    def compiled(size, stride):
        x, kernel = jnp.zeros((2, size, size, 4)), jnp.zeros((3, 3, 4, 4))
        return jax.jit(conv3x3, static_argnums=2).lower(x, kernel, stride).as_text()

    assert "stablehlo.convolution" not in compiled(2, 1)
    assert "stablehlo.convolution" not in compiled(4, 2)
    assert "stablehlo.convolution" in compiled(4, 1)


def test_other_platforms_keep_the_convolution():
    x, kernel = jnp.zeros((2, 2, 2, 4)), jnp.zeros((3, 3, 4, 4))
    lowered = jax.jit(conv3x3, static_argnums=2).trace(x, kernel, 1).lower(lowering_platforms=("tpu",))
    assert "stablehlo.convolution" in lowered.as_text()
    assert "stablehlo.dot_general" not in lowered.as_text()
