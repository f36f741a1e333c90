"""VGG-16 (Simonyan and Zisserman 2014, https://arxiv.org/abs/1409.1556), as torchvision builds it."""

from collections.abc import Callable
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array

from fashion_jax.config.architectures import VGG_POOLED, VGGS
from fashion_jax.models.layers import Conv, tapped
from fashion_jax.models.pixel_normalization import normalized_before
from fashion_jax.ops.pooling import max_pool2x2


class VGG16(nn.Module):
    """The convolutions of VGG-16 and adaptive pooling; its classifier is a head.

    Attributes:
        cells_begin: where the first cell of a map is centred: at the middle of the pixels that it stands for.
        stages: features and number of convolutions of each stage.
        norm: constructor of a normalisation module that follows each convolution, called with train=; None for none.
        normalize: normalises pixels, in the type of the computation; by default images are normalised before.
        pooled: height and width of the pooled map: torchvision's 7, or 1 for the mean over the map.
    """

    cells_begin: ClassVar[str] = "middle"

    stages: tuple[tuple[int, int], ...] = VGGS["vgg16"]
    norm: Callable[..., nn.Module] | None = None
    normalize: Callable[[Array], Array] = normalized_before
    pooled: int = VGG_POOLED

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps images [batch, height, width, 3] of at least 32 px to features [batch, pooled² * 512].

        The features are flattened in the order height, width, channel (PyTorch: channel, height, width).
        """
        x = self.normalize(x)
        for i, (features, size) in enumerate(self.stages):
            for j in range(size):
                x = Conv(features, use_bias=True, name=f"conv{i + 1}_{j + 1}")(x)
                if self.norm is not None:
                    x = self.norm(name=f"bn{i + 1}_{j + 1}")(x, train=train)
                x = nn.relu(x)
            x = max_pool2x2(tapped(self, f"stage{i + 1}", x))
        x = adaptive_average_pool(x, self.pooled)
        return x.reshape(x.shape[0], -1)


def create_vgg(name: str, *, norm: Callable[..., nn.Module], **fields: Any) -> VGG16:
    """Creates vgg16, or vgg16_bn with BatchNorm of the constructor `norm`; the fields are attributes of VGG16."""
    return VGG16(VGGS[name], norm if name == "vgg16_bn" else None, **fields)


def adaptive_average_pool(x: Array, size: int) -> Array:
    """Pools as torch.nn.AdaptiveAvgPool2d does: [batch, height, width, channels] to [batch, size, size, channels]."""
    rows, columns = (jnp.asarray(pooling_matrix(n, size), x.dtype) for n in x.shape[1:3])
    return jnp.einsum("ph,qw,nhwc->npqc", rows, columns, x)


def pooling_matrix(n: int, size: int) -> np.ndarray:
    """Returns [size, n]: row i averages the inputs floor(i * n / size) to ceil((i + 1) * n / size)."""
    matrix = np.zeros((size, n))
    for i in range(size):
        start, end = i * n // size, -(-(i + 1) * n // size)
        matrix[i, start:end] = 1 / (end - start)
    return matrix
