"""ResNet trunks (He et al. 2015, https://arxiv.org/abs/1512.03385), as torchvision builds them."""

from collections.abc import Callable
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from fashion_jax.config.architectures import EXPANSION, RESNETS
from fashion_jax.models.layers import Conv, tapped
from fashion_jax.models.pixel_normalization import normalized_before
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


class Bottleneck(nn.Module):
    """A 3x3 convolution between two 1x1 convolutions, with a shortcut; the stride is that of the 3x3 convolution.

    He et al. have the stride in the first 1x1 convolution; torchvision's variant is known as ResNet v1.5.
    """

    features: int
    stride: int
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        y = Conv(self.features, kernel_size=1, name="conv1")(x)
        y = nn.relu(self.norm(name="bn1")(y, train=train))
        y = Conv(self.features, stride=self.stride, name="conv2")(y)
        y = nn.relu(self.norm(name="bn2")(y, train=train))
        y = Conv(EXPANSION * self.features, kernel_size=1, name="conv3")(y)
        y = self.norm(name="bn3")(y, train=train)
        if x.shape != y.shape:
            x = Conv(EXPANSION * self.features, kernel_size=1, stride=self.stride, name="downsample_conv")(x)
            x = self.norm(name="downsample_bn")(x, train=train)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """A ResNet without its final layer.

    Attributes:
        stage_sizes: blocks per stage; each stage but the first halves the map and doubles the features.
        norm: constructor of a normalisation module that is called with train=.
        block: the module of a block: BasicBlock or Bottleneck.
        normalize: normalises pixels, in the type of the computation; by default images are normalised before.
        remat: keep only the blocks' inputs and statistics for the backward pass.
        cells_begin: where the first cell of a map is centred: at the first pixel, since convolutions and pooling of
            stride 2 begin there, not at the middle of the pixels that the cell stands for.
    """

    cells_begin: ClassVar[str] = "edge"

    stage_sizes: tuple[int, ...]
    norm: Callable[..., nn.Module]
    block: Callable[..., nn.Module] = BasicBlock
    normalize: Callable[[Array], Array] = normalized_before
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps images [batch, height, width, 3] to features [batch, 64 * 2 ** (stages - 1)], 4 times as many of
        bottlenecks.
        """

        def apply(block: nn.Module, x: Array) -> Array:
            return block(x, train=train)

        if self.remat:
            apply = nn.remat(apply, policy=KEEP_STATISTICS)
        x = Conv(64, kernel_size=7, stride=2, name="conv1")(self.normalize(x))
        # Pooling before the ReLU gives the same as after it, since the ReLU is monotonic.
        x = nn.relu(self.norm(pool=max_pool3x3, name="bn1")(x, train=train))
        for i, size in enumerate(self.stage_sizes):
            for j in range(size):
                stride = 2 if i > 0 and j == 0 else 1
                block = self.block(64 * 2**i, stride, self.norm, name=f"layer{i + 1}_{j}")
                x = apply(block, x)
            x = tapped(self, f"stage{i + 1}", x)
        return jnp.mean(x, axis=(1, 2))


def create_resnet(name: str, **fields: Any) -> ResNet:
    """Creates the ResNet of config.architectures.RESNETS that has this name; the fields are attributes of ResNet."""
    sizes = RESNETS[name]
    block = Bottleneck if sizes.has_bottlenecks else BasicBlock
    return ResNet(stage_sizes=sizes.stages, block=block, **fields)
