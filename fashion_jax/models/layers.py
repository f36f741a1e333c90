"""Convolution and dense layers with PyTorch's padding and torchvision's initialisation."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax

from fashion_jax.ops.convolution import convolve

kaiming_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
# torch.nn.Linear draws its kernel, and its bias, from U(-1 / sqrt(fan_in), 1 / sqrt(fan_in)).
linear_kernel = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def param_dtype(dtype: jnp.dtype) -> jnp.dtype:
    """The type of the parameters of a computation in dtype: never less than float32."""
    return jnp.promote_types(dtype, jnp.float32)


class Conv(nn.Module):
    """Convolution with padding kernel_size // 2 in the type of its input, kaiming_normal (fan out).

    Attributes:
        features: output channels.
        kernel_size: odd, the same in both directions.
        stride: the same in both directions.
        use_bias: adds a bias, zero at first.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[batch, height, width, channels] to [batch, ceil(height / stride), ceil(width / stride), features]."""
        size, dtype = self.kernel_size, param_dtype(x.dtype)
        kernel = self.param("kernel", kaiming_normal, (size, size, x.shape[-1], self.features), dtype)
        y = convolve(x, kernel.astype(x.dtype), self.stride)
        if self.use_bias:
            y += self.param("bias", nn.initializers.zeros, (self.features,), dtype).astype(y.dtype)
        return y


def run_trunk(trunk: nn.Module, images: Array, *, train: bool, frozen: bool) -> Array:
    """The features of images; in training a frozen trunk predicts as in evaluation, and no gradient comes to it."""
    features = trunk(images, train=train and not frozen)
    return lax.stop_gradient(features) if train and frozen else features


def tapped(module: nn.Module, name: str, x: Array) -> Array:
    """A map inside a trunk as it is, where explanations look at it and take the gradient of it.

    It can be had from the collection "intermediates", and what "perturbations" has under its name is added.
    Where neither is asked for, as in training, nothing of this is in the program.
    """
    module.sow("intermediates", name, x)
    return x + module.get_variable("perturbations", name) if module.has_variable("perturbations", name) else x


def linear(features: int, x: Array, *, dtype: jnp.dtype | None = None, name: str) -> Array:
    """torch.nn.Linear with its own initialisation, computed in dtype (by default the type of x).

    Called inside a compact module, of which it becomes a submodule.
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
