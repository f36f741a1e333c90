"""The options that the steps are compiled with are accepted by this jaxlib, and have their intended effect."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from fashion_jax.devices.compiler import OPTIONS, apart_flags, compiler_options, deterministic_flags, flops


def _compiled_text(options: dict[str, str]) -> str:
    """The optimised program of a reduction inside a matrix product, which XLA hands to YNNPACK when it may."""

    def loss(x, w):
        return jnp.sum(jnp.square(x @ w))

    x, w = jnp.ones((256, 256)), jnp.ones((256, 256))
    return jax.jit(loss, compiler_options=options).lower(x, w).compile().as_text()


def test_no_fusion_goes_to_ynnpack_on_cpu():
    mesh = Mesh(np.array(jax.devices("cpu")[:1]), ("data",))
    assert "__ynn_fusion" in _compiled_text({})
    assert "__ynn_fusion" not in _compiled_text(compiler_options(mesh))


def test_operations_are_counted_where_the_backend_of_the_program_cannot_count(monkeypatch):
    """The backends of GPUs and TPUs have no cost analysis of a program that is not compiled: jax returns None there."""
    monkeypatch.setattr("jax._src.xla_bridge.using_pjrt_c_api", lambda backend=None: True)
    shapes = (jax.ShapeDtypeStruct((8, 16), jnp.float32), jax.ShapeDtypeStruct((16, 4), jnp.float32))
    traced = jax.jit(jnp.dot).trace(*shapes)
    assert traced.lower().cost_analysis() is None
    assert flops(traced) == 2 * 8 * 16 * 4


class Gpu:
    """A device of the platform gpu."""

    platform = "gpu"


def test_one_gpu_gets_no_options_for_collectives():
    one, two = (Mesh(np.array([Gpu()] * count), ("data",)) for count in (1, 2))
    assert compiler_options(one) == {}
    assert compiler_options(two)["xla_gpu_enable_latency_hiding_scheduler"] is True
    assert compiler_options(two, once=True) == {}


def test_deterministic_runs_set_flags_of_xla():
    flags = deterministic_flags().split()
    assert flags == ["--xla_gpu_deterministic_ops=true", "--xla_gpu_exclude_nondeterministic_ops=true"]


def test_processes_apart_from_each_other_wait_for_no_other_s_measurements():
    assert apart_flags() == "--xla_gpu_shard_autotuning=false"


def test_every_option_has_a_reason():
    assert all(option.reason.endswith(".") for option in OPTIONS)


@pytest.mark.parametrize(("name", "value"), [(option.name, option.value) for option in OPTIONS])
def test_every_option_is_known_to_this_xla(name, value):
    """All platforms' options are fields of one message, so that this platform can parse them; it ignores others'."""
    jax.jit(lambda x: x + 1, compiler_options={name: value}).lower(1.0).compile()
    with pytest.raises(Exception, match=name + "s"):
        jax.jit(lambda x: x + 1, compiler_options={name + "s": value}).lower(1.0).compile()


def test_what_runs_once_is_compiled_with_less_effort_to_the_same_bits():
    def drawn(seed):
        return nn.initializers.he_normal()(jax.random.key(seed), (3, 3, 64, 65))

    mesh = Mesh(np.array(jax.devices("cpu")[:1]), ("data",))
    options = compiler_options(mesh, once=True)
    assert options
    np.testing.assert_array_equal(jax.jit(drawn)(3), jax.jit(drawn, compiler_options=options)(3))
