"""Convolution and dense layers with PyTorch's padding and torchvision's initialisation."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from fashion_jax.ops.convolution import convolve

kaiming_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
# torch.nn.Linear draws its kernel, and its bias, from U(-1 / sqrt(fan_in), 1 / sqrt(fan_in)).
linear_kernel = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def param_dtype(dtype: jnp.dtype) -> jnp.dtype:
    """Returns the type of the parameters for a computation in dtype: at least float32."""
    return jnp.promote_types(dtype, jnp.float32)


class Conv(nn.Module):
    """Convolution with padding kernel_size // 2, in the type of its input; initialised by kaiming_normal (fan out).

    Attributes:
        features: output channels.
        kernel_size: odd, the same in both directions.
        stride: the same in both directions.
        use_bias: adds a bias, initially zero.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps [batch, height, width, channels] to [batch, ceil(height / stride), ceil(width / stride), features]."""
        size, dtype = self.kernel_size, param_dtype(x.dtype)
        kernel = self.param("kernel", kaiming_normal, (size, size, x.shape[-1], self.features), dtype)
        y = convolve(x, kernel.astype(x.dtype), self.stride)
        if self.use_bias:
            y += self.param("bias", nn.initializers.zeros, (self.features,), dtype).astype(y.dtype)
        return y


def tapped(module: nn.Module, name: str, x: Array) -> Array:
    """Marks a map inside a trunk for explanations, which read it and its gradient; returns it unchanged.

    The map is recorded in the collection "intermediates", and a value of its name in "perturbations" is added to it. If
    neither collection is in use, as in training, the compiled program contains nothing of this.
    """
    module.sow("intermediates", name, x)
    return x + module.get_variable("perturbations", name) if module.has_variable("perturbations", name) else x


def linear(features: int, x: Array, *, dtype: jnp.dtype | None = None, name: str) -> Array:
    """Applies torch.nn.Linear with its own initialisation, computed in dtype (by default the type of x).

    Must be called inside a compact module, of which it becomes a submodule.
    """
    dtype = dtype or x.dtype

    def bias_init(key: Array, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        bound = x.shape[-1] ** -0.5
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return nn.Dense(
        features,
        dtype=dtype,
        param_dtype=param_dtype(dtype),
        kernel_init=linear_kernel,
        bias_init=bias_init,
        name=name,
    )(x)
