"""VGG-16 (Simonyan and Zisserman 2014, https://arxiv.org/abs/1409.1556), as torchvision builds it."""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array

from fashion_jax.models.layers import Conv, tapped
from fashion_jax.ops.pooling import max_pool2x2

_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # features, convolutions


class VGG16(nn.Module):
    """The convolutions of VGG-16 and adaptive pooling; its classifier is a head.

    Attributes:
        cells_begin: where the first cell of a map is centred: at the middle of the pixels that it stands for.
        pooled: height and width of the pooled map: torchvision's 7, or 1 for the mean over the map.
        stages: features and number of convolutions of each stage; None means those of VGG-16.
    """

    cells_begin: ClassVar[str] = "middle"

    pooled: int = 7
    stages: tuple[tuple[int, int], ...] | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps normalised images [batch, height, width, 3] of at least 32 px to features [batch, pooled² * 512].

        The features are flattened in the order height, width, channel (PyTorch: channel, height, width).
        """
        del train  # the trunk has neither BatchNorm nor dropout
        for i, (features, size) in enumerate(self.stages or _STAGES):
            for j in range(size):
                x = nn.relu(Conv(features, use_bias=True, name=f"conv{i + 1}_{j + 1}")(x))
            x = max_pool2x2(tapped(self, f"stage{i + 1}", x))
        x = adaptive_average_pool(x, self.pooled)
        return x.reshape(x.shape[0], -1)


def adaptive_average_pool(x: Array, size: int) -> Array:
    """Pools as torch.nn.AdaptiveAvgPool2d does: [batch, height, width, channels] to [batch, size, size, channels]."""
    rows, columns = (jnp.asarray(_pooling_matrix(n, size), x.dtype) for n in x.shape[1:3])
    return jnp.einsum("ph,qw,nhwc->npqc", rows, columns, x)


def _pooling_matrix(n: int, size: int) -> np.ndarray:
    """Returns [size, n]: row i averages the inputs floor(i * n / size) to ceil((i + 1) * n / size)."""
    matrix = np.zeros((size, n))
    for i in range(size):
        start, end = i * n // size, -(-(i + 1) * n // size)
        matrix[i, start:end] = 1 / (end - start)
    return matrix
