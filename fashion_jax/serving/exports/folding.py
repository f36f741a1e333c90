"""Takes the weights of a model out of its parameter trees, with BatchNorm folded into the layer before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

from fashion_jax.models.batch_norm import EPSILON
from fashion_jax.serving.exports.operations import Conv, Dense

Path = tuple[str, ...]  # names from the root of the model to a module


class Weights:
    """The parameters of a model and the running statistics of its BatchNorms, each of which can be taken once.

    What is left after the whole model has been walked is of a layer that the walk does not know.
    """

    def __init__(self, params: Any, model_state: Mapping[str, Any]):
        self._left: dict[Path, Any] = flatten_dict({"params": params, **model_state})

    @property
    def left(self) -> list[str]:
        """Returns the paths of the arrays that have not been taken."""
        return sorted("/".join(path[1:]) for path in self._left)

    def take(self, path: Path, collection: str = "params") -> np.ndarray:
        """Takes an array, as float64.

        Raises:
            KeyError: there is no such array, or it has been taken.
        """
        return np.asarray(self._left.pop((collection, *path))).astype(np.float64)

    def has(self, path: Path) -> bool:
        """Returns whether a parameter has not been taken."""
        return ("params", *path) in self._left

    def conv(self, path: Path, norm: Path | None = None, *, stride: int = 1) -> Conv:
        """Takes the convolution at `path`, which pads with half its size, and the BatchNorm at `norm` after it."""
        kernel, bias = self._folded(path, norm)
        return Conv(kernel, bias, stride, kernel.shape[0] // 2)

    def dense(self, path: Path, norm: Path | None = None) -> Dense:
        """Takes the dense layer at `path`, and the BatchNorm at `norm` after it."""
        return Dense(*self._folded(path, norm))

    def _folded(self, path: Path, norm: Path | None) -> tuple[np.ndarray, np.ndarray]:
        """Returns kernel and bias, float32; computed in float64, so that folding adds no rounding error."""
        kernel = self.take((*path, "kernel"))
        name = (*path, "bias")
        bias = self.take(name) if self.has(name) else np.zeros(kernel.shape[-1])
        if norm is not None:
            scale, shift = (self.take((*norm, name)) for name in ("scale", "bias"))
            mean, var = (self.take((*norm, name), "batch_stats") for name in ("mean", "var"))
            factor = scale / np.sqrt(var + EPSILON)
            kernel, bias = kernel * factor, (bias - mean) * factor + shift
        return kernel.astype(np.float32), bias.astype(np.float32)
