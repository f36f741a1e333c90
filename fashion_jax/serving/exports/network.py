"""Builds the inference network of a trained run as a graph of plain layers, and applies it with JAX."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fashion_jax.config.loading import image_shape
from fashion_jax.data.augmentation.geometry import shrink
from fashion_jax.serving.exports.folding import Weights
from fashion_jax.serving.exports.graph import FEATURES, IMAGES, Graph, Network
from fashion_jax.serving.exports.heads import add_heads, add_log_probs
from fashion_jax.serving.exports.jax_operations import compute
from fashion_jax.serving.exports.operations import (
    AppendMirrored,
    Cast,
    FirstHalf,
    Identity,
    LogMeanOfHalves,
    Resize,
)
from fashion_jax.serving.exports.tree import add_decoding
from fashion_jax.serving.exports.trunks import add_trunk

if TYPE_CHECKING:  # running an export needs nothing that reads checkpoints
    from fashion_jax.workdir.trained import Trained

__all__ = ["Network", "apply", "build_network"]


def build_network(trained: Trained, temperatures: Mapping[str, float]) -> Network:
    """Builds the network that answers as a run does: preprocessing, model, temperatures and decoding over the tree.

    BatchNorm is folded into the layers before it. All is computed in float32, whatever the run's dtype.

    Args:
        trained: a loaded run.
        temperatures: level -> temperature of its log-probabilities, 1 where a level has none.

    Raises:
        TypeError: the model has a trunk, a head or a parameter that exports do not know.
    """
    config, taxonomy, model = trained.config, trained.taxonomy, trained.program.model
    graph, weights = Graph(), Weights(*trained.state.eval_variables)
    size = image_shape(config)
    x = _add_preparation(graph, trained.canvas, size, is_mirrored=config.eval_flip)
    features = add_trunk(model.trunk, graph, weights, ("trunk",), x, size)
    logits = add_heads(graph, weights, model, features)
    if weights.left:
        raise TypeError(f"exports do not know what these parameters are for: {', '.join(weights.left)}")
    log_probs = add_log_probs(graph, logits, trained.program.balance.post_hoc_logit_adjustments, taxonomy)
    network = Network((), trained.canvas, config.data.resize, taxonomy, 0)
    num_features = _shape(dataclasses.replace(network, layers=tuple(graph.layers)), features)[1]
    if config.eval_flip:
        log_probs = {
            level: graph.add(f"log_probs/{level}/mean", LogMeanOfHalves(taxonomy.num_classes(level)), x)
            for level, x in log_probs.items()
        }
    add_decoding(graph, log_probs, temperatures, taxonomy)
    graph.add(FEATURES, FirstHalf(num_features) if config.eval_flip else Identity(), features)
    return dataclasses.replace(network, layers=tuple(graph.layers), num_features=num_features)


def _add_preparation(graph: Graph, canvas: tuple[int, int], size: tuple[int, int], *, is_mirrored: bool) -> str:
    """Adds what happens to canvases before the trunk: see data.augmentation.prepare_eval and step.eval_step."""
    x = graph.add("pixels", Cast(), IMAGES)
    if canvas != size:
        rows, columns = (_shrinking_matrix(*lengths) for lengths in zip(canvas, size, strict=True))
        x = graph.add("resized", Resize(rows, columns), x)
    return graph.add("mirrored", AppendMirrored(), x) if is_mirrored else x


def _shrinking_matrix(old: int, new: int) -> np.ndarray:
    """Returns float32 [new, old], by which an axis of an image is resized: what `shrink` makes of single pixels."""
    pixels = jnp.eye(old, dtype=jnp.float32)[None, :, :, None]
    return np.asarray(shrink(pixels, (new, old)))[0, :, :, 0]


def _shape(network: Network, name: str) -> tuple[int, ...]:
    """Returns the shape of a result for a batch of one image."""
    images = jax.ShapeDtypeStruct((1, *network.canvas, 3), np.uint8)
    return jax.eval_shape(lambda x: _values(network, x)[name], images).shape


def apply(network: Network, images: Array) -> dict[str, Array]:
    """Computes a network with plain JAX operations, the same on every platform.

    Args:
        network: what `build_network` has built.
        images: uint8 canvases [batch, height, width, 3].

    Returns:
        The outputs by name: per level `LEVEL_probabilities`, float32 [batch, classes], which agree over the tree;
        `path`, int32 [batch, levels], the likeliest path, UNKNOWN (-1) below a class without children; `features`,
        float32 [batch, features], of the image itself even where the probabilities are the mean over its mirror image.
    """
    values = _values(network, images)
    return {name: values[name] for name in network.outputs}


def _values(network: Network, images: Array) -> dict[str, Array]:
    values = {IMAGES: images}
    for layer in network.layers:
        values[layer.name] = compute(layer.operation, *(values[name] for name in layer.inputs))
    return values
