"""A network as a list of named layers, and the list while it is being written."""

from __future__ import annotations

import dataclasses

from fashion_jax.serving.exports.operations import Operation, Relu
from fashion_jax.taxonomy import Taxonomy

IMAGES = "images"  # the name of the input
PATH, FEATURES = "path", "features"


def probabilities_name(level: str) -> str:
    """Returns the name of the output with a level's probabilities."""
    return f"{level}_probabilities"


def output_names(levels: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the names of a network's outputs, in their order."""
    return (*map(probabilities_name, levels), PATH, FEATURES)


@dataclasses.dataclass(frozen=True)
class Layer:
    """An operation of a network.

    Attributes:
        name: of the result.
        operation: computes the result.
        inputs: names of what it is computed from, the input of the network or earlier results.
    """

    name: str
    operation: Operation
    inputs: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Network:
    """The inference of a run as plain layers with NumPy weights, from uint8 canvases to calibrated probabilities.

    Attributes:
        layers: in the order in which they are computed.
        canvas: (height, width) of the input, uint8 [batch, height, width, 3], which is called `IMAGES`.
        resize: how an image is made to fit the canvas: the config's data.resize.
        taxonomy: the levels and classes.
        num_features: number of features of an image, the trunk's output.
    """

    layers: tuple[Layer, ...]
    canvas: tuple[int, int]
    resize: str
    taxonomy: Taxonomy
    num_features: int

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs, in their order."""
        return output_names(self.taxonomy.levels)


class Graph:
    """Layers that are being put together.

    Attributes:
        layers: those that have been added.
    """

    def __init__(self) -> None:
        self.layers: list[Layer] = []

    def add(self, name: str, operation: Operation, *inputs: str) -> str:
        """Adds a layer, whose name must be new; returns the name."""
        assert name not in {layer.name for layer in self.layers}, name
        self.layers.append(Layer(name, operation, inputs))
        return name

    def add_relu(self, name: str, operation: Operation, *inputs: str) -> str:
        """Adds a layer and a ReLU after it; returns the name of the ReLU."""
        return self.add(f"{name}/relu", Relu(), self.add(name, operation, *inputs))
