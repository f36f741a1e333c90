"""The options the steps are compiled with: accepted by this jaxlib, and doing what they are for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from fashion_jax.ops.compiler import OPTIONS, compiler_options


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


@pytest.mark.parametrize(("platform", "name"), [(p, name) for p, options in OPTIONS.items() for name in options])
def test_every_option_is_known_to_this_xla(platform, name):
    """All platforms' options are fields of one message, so that this platform can parse them; it ignores others'."""
    jax.jit(lambda x: x + 1, compiler_options={name: OPTIONS[platform][name]}).lower(1.0).compile()
    with pytest.raises(Exception, match=name + "s"):
        jax.jit(lambda x: x + 1, compiler_options={name + "s": OPTIONS[platform][name]}).lower(1.0).compile()
