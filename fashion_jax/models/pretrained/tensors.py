"""The arrays of a file of weights: their shapes are known at once, their values are read when they are asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np


class Unsuitable(Exception):
    """Weights that cannot be used: what is wrong with them and the way out, as "which …: …" after their name."""


@dataclasses.dataclass(frozen=True)
class Tensor:
    """An array of a file.

    Attributes:
        shape: of the array.
        load: reads the values, of any shape with the same number of elements; raises Unsuitable.
    """

    shape: tuple[int, ...]
    load: Callable[[], np.ndarray]

    def reshaped(self, shape: tuple[int, ...]) -> Tensor:
        """Returns the same values in another shape."""
        return Tensor(shape, self.load)

    def read(self) -> np.ndarray:
        """Reads the values: float64 stays as it is, all other types become float32."""
        values = self.load().reshape(self.shape)
        return values if values.dtype == np.float64 else values.astype(np.float32)


Tensors = Mapping[str, Tensor]
