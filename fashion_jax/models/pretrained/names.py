"""The names, shapes and layouts of the arrays of each trunk in torchvision and here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from fashion_jax.config.architectures import EXPANSION, RESNETS, VGG_HIDDEN, VGG_POOLED, VGGS

_NORM = {  # torchvision's name of an array of BatchNorm -> its collection and name here
    "weight": ("params", "scale"),
    "bias": ("params", "bias"),
    "running_mean": ("batch_stats", "mean"),
    "running_var": ("batch_stats", "var"),
}
_STEM = 64  # features of a ResNet's first convolution
_FIRST_HIDDEN = "classifier.0.weight"


class Leaf(NamedTuple):
    """An array of a trunk, or of the hidden layers of VGG's classifier.

    Attributes:
        name: in a state dict of torchvision.
        collection: params or batch_stats.
        path: in that collection, from the trunk or the head on.
        shape: in torchvision.
    """

    name: str
    collection: str
    path: tuple[str, ...]
    shape: tuple[int, ...]

    def to_flax(self, array: np.ndarray) -> np.ndarray:
        """Returns torchvision's array in the layout of this project.

        Convolutions become [height, width, in, out] and linear layers [in, out]. The first linear layer of VGG reads
        its map in the order height, width, channel instead of channel, height, width.
        """
        if self.name == _FIRST_HIDDEN:
            array = array.reshape(len(array), -1, VGG_POOLED, VGG_POOLED).transpose(2, 3, 1, 0)
            return array.reshape(-1, array.shape[-1])
        return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T

    def to_torch(self, array: np.ndarray) -> np.ndarray:
        """Returns an array of this project in torchvision's layout: the inverse of `to_flax`."""
        if self.name == _FIRST_HIDDEN:
            array = array.reshape(VGG_POOLED, VGG_POOLED, -1, array.shape[-1]).transpose(3, 2, 0, 1)
            return array.reshape(len(array), -1)
        return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T


def trunk_leaves(architecture: str) -> list[Leaf]:
    """Returns the arrays of a trunk, one of TRUNKS, in torchvision's order."""
    return [*(_resnet if architecture in RESNETS else _vgg)(architecture)]


def hidden_leaves(architecture: str) -> list[Leaf]:
    """Returns the arrays of the two hidden layers of a VGG's classifier; none for a ResNet."""
    if architecture not in VGGS:
        return []
    features = VGGS[architecture][-1][0] * VGG_POOLED**2
    return [*_linear("classifier.0", "linear1", features), *_linear("classifier.3", "linear2", VGG_HIDDEN)]


def _resnet(architecture: str) -> Iterator[Leaf]:
    sizes = RESNETS[architecture]
    yield _convolution("conv1", ("conv1",), (_STEM, 3, 7, 7))
    yield from _batch_norm("bn1", ("bn1",), _STEM)
    features = _STEM
    for i, count in enumerate(sizes.stages):
        for j in range(count):
            stage = _STEM * 2**i
            out = stage * (EXPANSION if sizes.has_bottlenecks else 1)
            yield from _block(f"layer{i + 1}.{j}", f"layer{i + 1}_{j}", (features, stage, out))
            features = out


def _block(name: str, path: str, features: tuple[int, int, int]) -> Iterator[Leaf]:
    """Yields the arrays of a block with these features: of its input, of its 3x3 convolution, and of its output."""
    before, stage, out = features
    if out == stage:
        kernels = [(stage, before, 3, 3), (stage, stage, 3, 3)]
    else:
        kernels = [(stage, before, 1, 1), (stage, stage, 3, 3), (out, stage, 1, 1)]
    for k, kernel in enumerate(kernels, 1):
        yield _convolution(f"{name}.conv{k}", (path, f"conv{k}"), kernel)
        yield from _batch_norm(f"{name}.bn{k}", (path, f"bn{k}"), kernel[0])
    if before != out:
        yield _convolution(f"{name}.downsample.0", (path, "downsample_conv"), (out, before, 1, 1))
        yield from _batch_norm(f"{name}.downsample.1", (path, "downsample_bn"), out)


def _vgg(architecture: str) -> Iterator[Leaf]:
    index, before, has_norm = 0, 3, architecture == "vgg16_bn"
    for i, (features, count) in enumerate(VGGS[architecture], 1):
        for j in range(1, count + 1):
            path = (f"conv{i}_{j}",)
            yield _convolution(f"features.{index}", path, (features, before, 3, 3))
            yield Leaf(f"features.{index}.bias", "params", (*path, "bias"), (features,))
            if has_norm:
                yield from _batch_norm(f"features.{index + 1}", (f"bn{i}_{j}",), features)
            index, before = index + (3 if has_norm else 2), features  # then comes a ReLU
        index += 1  # a maximum pooling


def _convolution(name: str, path: tuple[str, ...], shape: tuple[int, ...]) -> Leaf:
    return Leaf(f"{name}.weight", "params", (*path, "kernel"), shape)


def _batch_norm(name: str, path: tuple[str, ...], features: int) -> Iterator[Leaf]:
    for last, (collection, here) in _NORM.items():
        yield Leaf(f"{name}.{last}", collection, (*path, here), (features,))


def _linear(name: str, path: str, features: int) -> Iterator[Leaf]:
    yield Leaf(f"{name}.weight", "params", (path, "kernel"), (VGG_HIDDEN, features))
    yield Leaf(f"{name}.bias", "params", (path, "bias"), (VGG_HIDDEN,))
