"""Adds the trunks of models to a graph, layer by layer.

A new trunk needs a function here, registered for the class of its module.
"""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np

from fashion_jax.models.hybrid import GATE, Hybrid
from fashion_jax.models.pixel_normalization import Normalization
from fashion_jax.models.resnet import BasicBlock, Bottleneck, ResNet
from fashion_jax.models.vgg import VGG16, pooling_matrix
from fashion_jax.serving.exports.folding import Path, Weights
from fashion_jax.serving.exports.graph import Graph
from fashion_jax.serving.exports.operations import (
    Add,
    Concatenate,
    Dense,
    Flatten,
    MaxPool,
    Mean,
    Multiply,
    Resize,
    Scale,
    Shift,
    Sigmoid,
    Tanh,
)


@singledispatch
def add_trunk(module: Any, graph: Graph, weights: Weights, path: Path, images: str, size: tuple[int, int]) -> str:
    """Adds a trunk to a graph; returns the name of its features [batch, features].

    Args:
        module: the trunk.
        graph: the layers before it.
        weights: of the model.
        path: of the trunk in the model.
        images: the name of the pixels from 0 to 255.
        size: (height, width) of the images.

    Raises:
        TypeError: the trunk is of a class that exports do not know.
    """
    raise TypeError(f"exports have no function for the trunk {type(module).__name__}: add it to {__name__}")


@add_trunk.register
def _(module: ResNet, graph: Graph, weights: Weights, path: Path, images: str, size: tuple[int, int]) -> str:
    x = _add_normalization(module.normalize, graph, path, images)
    stem = weights.conv((*path, "conv1"), (*path, "bn1"), stride=2)
    x = graph.add_relu(_name(path, "conv1"), stem, x)
    x = graph.add(_name(path, "pool"), MaxPool(3, 2, 1), x)
    for i, count in enumerate(module.stage_sizes):
        for j in range(count):
            stride = 2 if i > 0 and j == 0 else 1
            x = _add_block(module.block, graph, weights, (*path, f"layer{i + 1}_{j}"), x, stride)
    return graph.add(_name(path, "mean"), Mean(), x)


def _add_block(kind: Any, graph: Graph, weights: Weights, path: Path, x: str, stride: int) -> str:
    """Adds a block of a ResNet, whose last convolution has no ReLU before the shortcut is added."""
    strides = {BasicBlock: (stride, 1), Bottleneck: (1, stride, 1)}[kind]
    shortcut, last = x, len(strides)
    for k, step in enumerate(strides, 1):
        conv = weights.conv((*path, f"conv{k}"), (*path, f"bn{k}"), stride=step)
        x = (graph.add if k == last else graph.add_relu)(_name(path, f"conv{k}"), conv, x)
    if weights.has((*path, "downsample_conv", "kernel")):
        conv = weights.conv((*path, "downsample_conv"), (*path, "downsample_bn"), stride=stride)
        shortcut = graph.add(_name(path, "downsample_conv"), conv, shortcut)
    return graph.add_relu(_name(path, "add"), Add(), x, shortcut)


@add_trunk.register
def _(module: VGG16, graph: Graph, weights: Weights, path: Path, images: str, size: tuple[int, int]) -> str:
    x = _add_normalization(module.normalize, graph, path, images)
    for i, (_, count) in enumerate(module.stages, 1):
        for j in range(1, count + 1):
            norm = (*path, f"bn{i}_{j}") if module.norm is not None else None
            x = graph.add_relu(_name(path, f"conv{i}_{j}"), weights.conv((*path, f"conv{i}_{j}"), norm), x)
        x = graph.add(_name(path, f"pool{i}"), MaxPool(2, 2, 0), x)
    if module.pooled == 1:
        return graph.add(_name(path, "mean"), Mean(), x)
    shrunk = (length >> len(module.stages) for length in size)
    rows, columns = (pooling_matrix(length, module.pooled).astype(np.float32) for length in shrunk)
    x = graph.add(_name(path, "adaptive_pool"), Resize(rows, columns), x)
    return graph.add(_name(path, "flatten"), Flatten(), x)


@add_trunk.register
def _(module: Hybrid, graph: Graph, weights: Weights, path: Path, images: str, size: tuple[int, int]) -> str:
    resnet = add_trunk(module.resnet34, graph, weights, (*path, "resnet34"), images, size)
    vgg = add_trunk(module.vgg16, graph, weights, (*path, "vgg16"), images, size)
    both = graph.add(_name(path, "both"), Concatenate(), resnet, vgg)
    if module.fusion == "concatenate":
        return both

    return _add_gate(graph, weights, (*path, GATE[-1]), resnet, vgg, both)


def _add_gate(graph: Graph, weights: Weights, path: Path, a: str, b: str, both: str) -> str:
    """Adds z * tanh(A a) + (1 - z) * tanh(B b) with z = sigmoid(Z [a, b]), where 1 - z is sigmoid(-Z [a, b])."""
    dense = weights.dense((*path, "gate"))
    opposite = Dense(-dense.kernel, -dense.bias)
    parts = []
    for name, x, gate in (("first", a, dense), ("second", b, opposite)):
        value = graph.add(_name(path, name), weights.dense((*path, name)), x)
        value = graph.add(_name(path, name, "tanh"), Tanh(), value)
        share = graph.add(_name(path, name, "gate"), gate, both)
        share = graph.add(_name(path, name, "sigmoid"), Sigmoid(), share)
        parts.append(graph.add(_name(path, name, "gated"), Multiply(), value, share))
    return graph.add(_name(path, "add"), Add(), *parts)


def _add_normalization(normalization: Any, graph: Graph, path: Path, images: str) -> str:
    """Adds the normalisation of pixels.

    It cannot be folded into the first convolution, which pads the normalised image with zeros.
    """
    if not isinstance(normalization, Normalization):
        raise TypeError(f"exports do not know the normalisation of pixels {normalization!r}")
    mean, std = np.asarray(normalization.mean), np.asarray(normalization.std)
    x = graph.add(_name(path, "scaled"), Scale((1 / (255 * std)).astype(np.float32)), images)
    return graph.add(_name(path, "normalized"), Shift((-mean / std).astype(np.float32)), x)


def _name(path: Path, *names: str) -> str:
    return "/".join((*path, *names))
