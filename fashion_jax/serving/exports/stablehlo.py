"""Writes a network as a StableHLO program for CPUs, NVIDIA GPUs and TPUs, and runs such a file with JAX."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from jax import Array, export

from fashion_jax.serving.exports.folder import MODELS
from fashion_jax.serving.exports.graph import Network
from fashion_jax.serving.exports.network import apply

MODEL_FILE = MODELS["stablehlo"]

PLATFORMS = ("cpu", "cuda", "tpu")

_MOST = 256  # images at a time


def write(network: Network, folder: Path) -> None:
    """Writes `MODEL_FILE` into a folder: a program that takes any number of images on each of `PLATFORMS`."""

    def classify(images: Array) -> dict[str, Array]:
        return apply(network, images)

    (batch,) = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *network.canvas, 3), np.uint8)
    exported = export.export(jax.jit(classify), platforms=PLATFORMS)(images)
    (folder / MODEL_FILE).write_bytes(exported.serialize())


def read(folder: Path) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Returns a function of uint8 canvases [n, height, width, 3] that returns the outputs by name; thread-safe.

    The program is compiled for 1, 2, 4, ... images, up to `_MOST`; other numbers are filled up. The file must be
    trusted: check its digest first, since JAX does not survive every damaged file.
    """
    exported = export.deserialize(bytearray((folder / MODEL_FILE).read_bytes()))
    call = jax.jit(exported.call)

    def compute_part(images: np.ndarray) -> dict[str, np.ndarray]:
        missing = (1 << (len(images) - 1).bit_length()) - len(images)
        filled = np.concatenate([images, np.zeros((missing, *images.shape[1:]), np.uint8)])
        return {name: x[: len(images)] for name, x in jax.device_get(call(filled)).items()}

    def compute(images: np.ndarray) -> dict[str, np.ndarray]:
        parts = [compute_part(images[start : start + _MOST]) for start in range(0, len(images), _MOST)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    return compute
