"""Reads .safetensors files, by the library of that name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fashion_jax.errors import first_line
from fashion_jax.models.pretrained.tensors import Tensor, Unsuitable


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Reads names and shapes of the arrays of a file.

    Raises:
        Unsuitable: the file is damaged or cannot be read.
    """
    with _opened(path) as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no dict
    return {name: Tensor(shape, partial(_load, path, name)) for name, shape in shapes.items()}


def _load(path: Path, name: str) -> np.ndarray:
    with _opened(path) as file:
        if file.get_slice(name).get_dtype() == "BF16":
            import ml_dtypes  # noqa: F401 - makes numpy know the type bfloat16
        return file.get_tensor(name)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except (SafetensorError, OSError, TypeError) as error:  # TypeError: a type that numpy lacks
        raise Unsuitable(
            f"which cannot be read as .safetensors ({first_line(error)}): download or save it again."
        ) from error
