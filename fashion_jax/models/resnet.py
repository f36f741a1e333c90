"""ResNet trunks (He et al. 2015, https://arxiv.org/abs/1512.03385), as torchvision builds them."""

from collections.abc import Callable
from functools import partial
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from fashion_jax.models.layers import Conv, tapped
from fashion_jax.models.rematerialization import KEEP_STATISTICS
from fashion_jax.ops.pooling import max_pool3x3


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut."""

    features: int
    stride: int
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        y = Conv(self.features, stride=self.stride, name="conv1")(x)
        y = nn.relu(self.norm(name="bn1")(y, train=train))
        y = Conv(self.features, name="conv2")(y)
        y = self.norm(name="bn2")(y, train=train)
        if x.shape != y.shape:
            x = Conv(self.features, kernel_size=1, stride=self.stride, name="downsample_conv")(x)
            x = self.norm(name="downsample_bn")(x, train=train)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """A ResNet of basic blocks without its final layer.

    Attributes:
        stage_sizes: blocks per stage; each stage but the first halves the map and doubles the features.
        norm: constructor of a normalisation module that is called with train=.
        remat: keep only the blocks' inputs and statistics for the backward pass.
        cells_begin: where the first cell of a map is centred: at the first pixel, since convolutions and pooling of
            stride 2 begin there, not at the middle of the pixels that the cell stands for.
    """

    cells_begin: ClassVar[str] = "edge"

    stage_sizes: tuple[int, ...]
    norm: Callable[..., nn.Module]
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps normalised images [batch, height, width, 3] to features [batch, 64 * 2 ** (stages - 1)]."""

        def apply(block: nn.Module, x: Array) -> Array:
            return block(x, train=train)

        if self.remat:
            apply = nn.remat(apply, policy=KEEP_STATISTICS)
        x = Conv(64, kernel_size=7, stride=2, name="conv1")(x)
        # Pooling before the ReLU gives the same as after it, since the ReLU is monotonic.
        x = nn.relu(self.norm(pool=max_pool3x3, name="bn1")(x, train=train))
        for i, size in enumerate(self.stage_sizes):
            for j in range(size):
                stride = 2 if i > 0 and j == 0 else 1
                block = BasicBlock(64 * 2**i, stride, self.norm, name=f"layer{i + 1}_{j}")
                x = apply(block, x)
            x = tapped(self, f"stage{i + 1}", x)
        return jnp.mean(x, axis=(1, 2))


resnet10 = partial(ResNet, stage_sizes=(1, 1, 1, 1))
resnet18 = partial(ResNet, stage_sizes=(2, 2, 2, 2))
resnet34 = partial(ResNet, stage_sizes=(3, 4, 6, 3))
