"""The operations of an exported network, each with its weights as NumPy arrays.

Each operation maps one array to another unless its description says otherwise. The first axis of every array is the
batch. A map is [batch, height, width, channels], and a vector is [batch, features].
"""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Cast:
    """Converts uint8 pixels to float32."""


@dataclasses.dataclass(frozen=True)
class Resize:
    """Multiplies the rows and the columns of a map by matrices.

    Attributes:
        rows: float32 [new height, height].
        columns: float32 [new width, width].
    """

    rows: np.ndarray
    columns: np.ndarray


@dataclasses.dataclass(frozen=True)
class AppendMirrored:
    """Appends the mirror image of each image to the batch, which becomes twice as large."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """Multiplies each channel by a factor.

    Attributes:
        factors: float32 [channels].
    """

    factors: np.ndarray


@dataclasses.dataclass(frozen=True)
class Shift:
    """Adds constants.

    Attributes:
        terms: float32, of the shape of the array without its batch, or [channels].
    """

    terms: np.ndarray


@dataclasses.dataclass(frozen=True)
class Conv:
    """Convolves a map.

    Attributes:
        kernel: float32 [size, size, in_channels, out_channels].
        bias: float32 [out_channels].
        stride: of rows and of columns.
        padding: zeros on each side of the map.
    """

    kernel: np.ndarray
    bias: np.ndarray
    stride: int
    padding: int


@dataclasses.dataclass(frozen=True)
class MaxPool:
    """Takes the maxima of a map over square windows.

    Attributes:
        size: of a window.
        stride: of rows and of columns.
        padding: on each side of the map, never the maximum.
    """

    size: int
    stride: int
    padding: int


@dataclasses.dataclass(frozen=True)
class Mean:
    """Takes the mean of each channel of a map: a vector."""


@dataclasses.dataclass(frozen=True)
class Flatten:
    """Flattens everything but the batch, the last axis fastest."""


@dataclasses.dataclass(frozen=True)
class Dense:
    """Multiplies a vector by a kernel and adds a bias.

    Attributes:
        kernel: float32 [in_features, out_features].
        bias: float32 [out_features].
    """

    kernel: np.ndarray
    bias: np.ndarray


@dataclasses.dataclass(frozen=True)
class Relu:
    """Replaces negative values by 0."""


@dataclasses.dataclass(frozen=True)
class Sigmoid:
    """Applies 1 / (1 + exp(-x))."""


@dataclasses.dataclass(frozen=True)
class Tanh:
    """Applies tanh."""


@dataclasses.dataclass(frozen=True)
class Add:
    """Adds two arrays of one shape."""


@dataclasses.dataclass(frozen=True)
class Multiply:
    """Multiplies two arrays of one shape."""


@dataclasses.dataclass(frozen=True)
class Concatenate:
    """Concatenates several vectors."""


@dataclasses.dataclass(frozen=True)
class Softmax:
    """Applies softmax over the last axis."""


@dataclasses.dataclass(frozen=True)
class LogSoftmax:
    """Applies log-softmax over the last axis."""


@dataclasses.dataclass(frozen=True)
class LogSumExp:
    """Reduces the last axis by log(sum(exp(x)))."""


@dataclasses.dataclass(frozen=True)
class Gather:
    """Takes features of a vector.

    Attributes:
        indices: int64, of any shape; the result is [batch, *indices.shape].
    """

    indices: np.ndarray


@dataclasses.dataclass(frozen=True)
class FirstHalf:
    """Takes the first half of a batch of vectors.

    Attributes:
        features: of each vector.
    """

    features: int


@dataclasses.dataclass(frozen=True)
class LogMeanOfHalves:
    """Takes the log of the mean of exp(x) and exp(y), where x and y are the halves of a batch of vectors.

    Attributes:
        features: of each vector.
    """

    features: int


@dataclasses.dataclass(frozen=True)
class Likeliest:
    """Takes the row of a table that belongs to the largest value of a vector, the first one in a tie.

    Attributes:
        table: int32 [features, columns]; the result is [batch, columns].
    """

    table: np.ndarray


@dataclasses.dataclass(frozen=True)
class Identity:
    """Gives an array another name."""


Operation = (
    Cast
    | Resize
    | AppendMirrored
    | Scale
    | Shift
    | Conv
    | MaxPool
    | Mean
    | Flatten
    | Dense
    | Relu
    | Sigmoid
    | Tanh
    | Add
    | Multiply
    | Concatenate
    | Softmax
    | LogSoftmax
    | LogSumExp
    | Gather
    | FirstHalf
    | LogMeanOfHalves
    | Likeliest
    | Identity
)
