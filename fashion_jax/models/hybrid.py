"""ResNet-34 and VGG-16 side by side, with their features fused."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from fashion_jax.models.layers import linear_kernel, param_dtype

GATE = ("trunk", "fusion_gate")  # the path to the parameters of the gate
_GATED_FEATURES = 512  # the number of features of either trunk


class Hybrid(nn.Module):
    """Two trunks that see the same images.

    Both give 512 features, the mean over their last map. VGG-16 therefore comes without its adaptive pooling to 7x7:
    its 25,088 features would drown the 512 of ResNet-34, and at 64 px they repeat those of a 2x2 map a dozen times.

    Attributes:
        resnet34: maps images to features.
        vgg16: maps images to features.
        fusion: concatenate (1,024 features) | gated (512, see GatedFusion).
    """

    resnet34: nn.Module
    vgg16: nn.Module
    fusion: str

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps images [batch, height, width, 3] of at least 32 px to features [batch, 1024 or 512]."""
        resnet, vgg = self.resnet34(x, train=train), self.vgg16(x, train=train)
        if self.fusion == "gated":
            return GatedFusion(_GATED_FEATURES, name=GATE[-1])(resnet, vgg)
        return jnp.concatenate([resnet, vgg], axis=-1)


class GatedFusion(nn.Module):
    """The gated multimodal unit of two inputs (Arevalo et al. 2017, https://arxiv.org/abs/1702.01992, section 3.1).

    h = z * tanh(A a) + (1 - z) * tanh(B b) with z = sigmoid(Z [a, b]): each feature of an image chooses between both.

    Attributes:
        features: number of features of the result.
    """

    features: int

    @nn.compact
    def __call__(self, a: Array, b: Array) -> Array:
        """Fuses [batch, features of a] and [batch, features of b] to [batch, features]."""

        def dense(x: Array, name: str) -> Array:
            return nn.Dense(
                self.features,
                use_bias=False,
                dtype=x.dtype,
                param_dtype=param_dtype(x.dtype),
                kernel_init=linear_kernel,
                name=name,
            )(x)

        z = nn.sigmoid(dense(jnp.concatenate([a, b], axis=-1), "gate"))
        return z * jnp.tanh(dense(a, "first")) + (1 - z) * jnp.tanh(dense(b, "second"))
