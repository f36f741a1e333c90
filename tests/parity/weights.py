"""Draws state dicts of torchvision's networks by name, the same for PyTorch and for this project, by numpy alone."""

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

REFERENCE = Path(__file__).with_name("pretrained.json")
ARCHITECTURES = ("resnet18", "resnet34", "resnet50", "vgg16", "vgg16_bn")
MEAN, STD = (0.48, 0.46, 0.41), (0.2, 0.25, 0.3)  # of the pixels
_NUM_FEATURES = 24  # stored


def draw_state_dict(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Draws the arrays of a network, float32, each a function of its name and shape alone."""
    return {name: _draw(name, tuple(shape)) for name, shape in shapes.items()}


def draw_pixels() -> np.ndarray:
    """Draws one image, float32 [1, 32, 32, 3], from 0 to 255."""
    return _uniform("pixels", (1, 32, 32, 3), 0, 255)


def chosen(features: np.ndarray) -> np.ndarray:
    """Returns some of the features [1, n], in the order of this project, at places that depend on n alone."""
    return features[0, _rng("features").integers(features.shape[1], size=_NUM_FEATURES)]


def _draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    if len(shape) > 1:
        bound = (6 / np.prod(shape[1:])) ** 0.5  # keeps the scale of activations through a layer and its ReLU
        return _uniform(name, shape, -bound, bound)
    bounds = {"bias": (-0.2, 0.2), "weight": (0.5, 1.5), "running_mean": (-0.5, 0.5), "running_var": (0.5, 3.5)}
    return _uniform(name, shape, *bounds[name.rpartition(".")[2]])


def _uniform(name: str, shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
    return np.float32(low) + np.float32(high - low) * _rng(name).random(shape, np.float32)


def _rng(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))
