"""Convolutions agree with XLA's own."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fashion_jax.ops import convolution
from fashion_jax.ops.convolution import convolve
from tests.gradients import value_and_gradients


def plain(x, kernel, stride):
    pad = (kernel.shape[0] // 2,) * 2
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), (pad, pad), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


# A kernel of 3x3 is computed by a way that depends on the shape and the stride, other kernels by one way each.
SHAPES = {
    1: [(1, 1), (5, 4)],
    3: [(1, 1), (2, 2), (1, 2), (2, 1), (3, 3), (4, 3), (5, 4), (4, 4), (6, 9)],
    7: [(1, 1), (2, 1), (4, 3), (5, 4), (6, 9)],
}


@pytest.mark.parametrize(
    ("size", "batch", "shape", "stride"),
    [
        *((size, 3, shape, stride) for size, shapes in SHAPES.items() for shape in shapes for stride in (1, 2)),
        *((3, 1, (4, 3), stride) for stride in (1, 2)),
    ],
)
def test_value_and_gradients_equal_the_plain_op(size, batch, shape, stride):
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        x = jnp.asarray(rng.normal(size=(batch, *shape, 5)))
        kernel = jnp.asarray(rng.normal(size=(size, size, 5, 7)))
        g = jnp.asarray(rng.normal(size=(batch, *(-(-side // stride) for side in shape), 7)))
        results = [value_and_gradients(partial(op, stride=stride), g, x, kernel) for op in (convolve, plain)]
        for value, reference in zip(*map(jax.tree.leaves, results), strict=True):
            assert value.shape == reference.shape
            np.testing.assert_allclose(value, reference, rtol=0, atol=1e-12 * float(jnp.abs(reference).max()))


@pytest.mark.parametrize(
    ("shape", "stride", "is_product"),
    [
        *(((2, 2), 1, True), ((3, 2), 1, True), ((2, 4), 1, True), ((8, 1), 1, True), ((3, 3), 1, False)),
        *(((4, 4), 2, True), ((5, 4), 2, True), ((4, 8), 2, True), ((5, 5), 2, False), ((10, 3), 2, False)),
    ],
)
def test_on_the_cpu_maps_of_fewer_pixels_than_the_kernel_become_a_product(shape, stride, is_product):
    x, kernel = jnp.zeros((2, *shape, 4)), jnp.zeros((3, 3, 4, 4))

    def gradients(x, kernel):
        return jax.grad(lambda *args: convolve(*args, stride).sum(), (0, 1))(x, kernel)

    lowered = jax.jit(gradients).lower(x, kernel).as_text()
    assert ("stablehlo.convolution" not in lowered) == is_product


def test_other_platforms_keep_the_convolution():
    x, kernel = jnp.zeros((2, 2, 2, 4)), jnp.zeros((3, 3, 4, 4))
    lowered = jax.jit(convolve, static_argnums=2).trace(x, kernel, 1).lower(lowering_platforms=("tpu",))
    assert "stablehlo.convolution" in lowered.as_text()
    assert "stablehlo.dot_general" not in lowered.as_text()


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [pytest.param("float32", 1e-5, marks=pytest.mark.long), ("float64", 1e-12)]
)
@pytest.mark.parametrize(
    ("shape", "features"),
    [
        ((32, 4, 4, 16), 17),
        ((1, 24, 23, 16), 16),
        pytest.param((2, 28, 28, 16), 16, marks=pytest.mark.long),
        ((4, 16, 8, 260), 256),
        ((6, 40, 56, 64), 64),  # some images at a time
        ((32, 5, 8, 16), 16),
        pytest.param((3, 13, 14, 20), 16, marks=pytest.mark.long),
        ((24, 3, 3, 32), 17),  # tiles of 3x3
        ((8, 5, 6, 16), 40),
        pytest.param((2, 9, 12, 16), 16, marks=pytest.mark.long),
        ((16, 2, 2, 9), 7),
    ],
)
def test_few_products_equal_the_plain_op(shape, features, dtype, tolerance, monkeypatch):
    monkeypatch.setattr(convolution, "_MANY_PRODUCTS", 0)
    rng = np.random.default_rng(0)
    with jax.enable_x64(dtype == "float64"):
        x = jnp.asarray(np.maximum(rng.normal(size=shape), 0), dtype)
        kernel = jnp.asarray(rng.normal(size=(3, 3, shape[-1], features)), dtype)
        g = jnp.asarray(rng.normal(size=(*shape[:3], features)), dtype)
        results = [value_and_gradients(op, g, x, kernel) for op in (convolve, partial(plain, stride=1))]
        for value, reference in zip(*map(jax.tree.leaves, results), strict=True):
            assert value.dtype == dtype
            assert float(jnp.abs(value - reference).max()) <= tolerance * float(jnp.abs(reference).max())


def convolutions(lowered, operation="stablehlo.convolution"):
    return lowered.as_text().count(operation)


def test_other_platforms_have_the_plain_gradients_and_types_too(monkeypatch):
    monkeypatch.setattr(convolution, "_MANY_PRODUCTS", 0)
    x, kernel = jnp.zeros((32, 8, 8, 16)), jnp.zeros((3, 3, 16, 16))
    step = jax.jit(jax.value_and_grad(lambda x, kernel: jnp.sum(convolve(x, kernel)), argnums=(0, 1)))
    for platform in ("tpu", "cuda"):
        assert convolutions(step.trace(x, kernel).lower(lowering_platforms=(platform,))) == 3
    on_cpu = step.trace(x, kernel).lower(lowering_platforms=("cpu",))
    assert convolutions(on_cpu) == 0
    assert convolutions(on_cpu, "stablehlo.dot_general") == 24 + 24 + 6
    half = step.trace(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16))
    assert convolutions(half.lower(lowering_platforms=("cpu",))) == 3


def test_with_stride_2_the_gradient_turns_the_input_around_row_by_row():
    x, kernel = jnp.zeros((4, 8, 8, 16)), jnp.zeros((3, 3, 16, 16))
    step = jax.jit(jax.grad(lambda x, kernel: jnp.sum(convolve(x, kernel, 2)), argnums=(0, 1))).trace(x, kernel)
    assert convolutions(step.lower(lowering_platforms=("cpu",)), "stablehlo.while") == 1
    assert convolutions(step.lower(lowering_platforms=("tpu",)), "stablehlo.while") == 0


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 2), (7, 2)])
def test_gradients_inside_loops_have_the_order_of_axes_that_is_fast_on_the_cpu(size, stride):
    """XLA leaves the order as it is inside loops; elsewhere it brings convolutions into this one itself."""
    arguments = jnp.zeros((2, 16, 16, 4)), jnp.zeros((size, size, 4, 6))
    gradients = jax.grad(lambda x, kernel: jnp.sum(jnp.cos(convolve(x, kernel, stride))), argnums=(0, 1))
    loop = jax.jit(lambda *given: jax.lax.fori_loop(0, 9, lambda _, given: gradients(*given), given))
    text = loop.lower(*arguments).compile().as_text()
    assert re.findall(r" convolution\(.*dim_labels=([\w>-]+)", text) == ["b01f_01io->b01f"] * 3


def test_single_pixels_are_a_product_on_the_cpu():
    x, kernel = jnp.zeros((4, 8, 8, 16)), jnp.zeros((1, 1, 16, 16))
    step = jax.jit(jax.grad(lambda x, kernel: jnp.sum(convolve(x, kernel, 2)), argnums=(0, 1))).trace(x, kernel)
    assert convolutions(step.lower(lowering_platforms=("cpu",))) == 0
    assert convolutions(step.lower(lowering_platforms=("tpu",))) == 2


def test_what_is_soon_done_stays_as_it_is():
    def products(batch):
        x, kernel = jnp.zeros((batch, 8, 8, 64)), jnp.zeros((3, 3, 64, 64))
        return convolutions(jax.jit(convolve).lower(x, kernel), "stablehlo.dot_general")

    assert (products(32), products(64)) == (0, 24)


@pytest.mark.parametrize(("size", "products"), [(3, 25), (4, 24), (5, 25), (7, 24), (9, 25), (16, 24)])
def test_the_tiles_are_those_of_the_fewest_multiplications(size, products, monkeypatch):
    monkeypatch.setattr(convolution, "_MANY_PRODUCTS", 0)
    x, kernel = jnp.zeros((32, size, size, 16)), jnp.zeros((3, 3, 16, 16))
    assert convolutions(jax.jit(convolve).lower(x, kernel), "stablehlo.dot_general") == products


def test_any_batch_can_be_exported_for_several_platforms():
    kernel = jax.ShapeDtypeStruct((3, 3, 16, 16), jnp.float32)
    for size in (2, 8):
        x = jax.ShapeDtypeStruct(jax.export.symbolic_shape(f"batch, {size}, {size}, 16"), jnp.float32)
        exported = jax.export.export(jax.jit(convolve), platforms=("cpu", "tpu"))(x, kernel)
        assert exported.call(jnp.ones((3, size, size, 16)), jnp.ones(kernel.shape)).shape == (3, size, size, 16)
