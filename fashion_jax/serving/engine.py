"""Computes what the network says of images: the interface that runs and exports share, and its form for a run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import numpy as np

from fashion_jax.devices.mesh import fetch, held_alone, put_batch
from fashion_jax.step.train_step import jit_embed_step
from fashion_jax.taxonomy import Taxonomy
from fashion_jax.workdir.trained import Trained


class Engine(Protocol):
    """Computes the log-probabilities and the features of images: a checkpoint of a run, or an export.

    All methods may be called from several threads at a time.
    """

    @property
    def taxonomy(self) -> Taxonomy:
        """The levels and their classes."""

    @property
    def canvas(self) -> tuple[int, int]:
        """The (height, width) of the images."""

    @property
    def resize(self) -> str:
        """How an image fits the canvas, see data.resize in configs/default.py."""

    @property
    def step(self) -> int:
        """The training steps of the checkpoint."""

    @property
    def batch_size(self) -> int:
        """The most images computed at a time."""

    @property
    def temperatures(self) -> Mapping[str, float]:
        """Level -> temperature that `log_probs` has still to be divided by; empty if nothing is left to do."""

    @property
    def decode(self) -> str | None:
        """How the levels have already been made to agree, one of DECODES; None if they have not."""

    def log_probs(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Returns level -> log-probabilities [n, classes] of uint8 images [n, height, width, 3], n at least 1."""

    def features(self, images: np.ndarray) -> np.ndarray:
        """Returns the trunk's output, which is the heads' input, float32 [n, features], for images as above."""


class RunEngine:
    """Computes with a checkpoint of a run, on all devices of this process.

    A program is compiled for a size of batches when it is first needed. The sizes are 1, 2, 4, ... times the number of
    devices, up to `batch_size`; smaller batches are padded. So one image costs little more than one image.
    """

    decode = None

    def __init__(
        self, trained: Trained, batch_size: int | None = None, temperatures: Mapping[str, float] | None = None
    ):
        """Makes an engine of a loaded run.

        Args:
            trained: the run and its checkpoint.
            batch_size: the most images computed at a time, rounded up to a multiple of the devices; by default what
                `eval_batch_size` makes of that of the run's config.
            temperatures: level -> temperature of the run's calibration; none if it has no calibration.
        """
        self.trained = trained
        self.batch_size = trained.batch_size(batch_size)
        self.temperatures: Mapping[str, float] = dict(temperatures or {})
        self._log_probs = _Programs(trained.program.eval_step, trained)
        self._features = _Programs(jit_embed_step(trained.program), trained)

    @property
    def taxonomy(self) -> Taxonomy:
        return self.trained.taxonomy

    @property
    def canvas(self) -> tuple[int, int]:
        return self.trained.canvas

    @property
    def resize(self) -> str:
        return self.trained.config.data.resize

    @property
    def step(self) -> int:
        return self.trained.step

    def log_probs(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Returns level -> log-probabilities [n, classes], at least float32, of uint8 images [n, height, width, 3]."""
        parts = [self._log_probs(part, self.batch_size) for part in self._parts(images)]
        return {level: np.concatenate([part[level] for part in parts]) for level in self.taxonomy.levels}

    def features(self, images: np.ndarray) -> np.ndarray:
        """Returns the trunk's output, float32 [n, features], of uint8 images [n, height, width, 3]."""
        parts = [self._features(part, self.batch_size) for part in self._parts(images)]
        return np.concatenate(parts).astype(np.float32, copy=False)

    def _parts(self, images: np.ndarray) -> list[np.ndarray]:
        return [images[start : start + self.batch_size] for start in range(0, len(images), self.batch_size)]


class _Programs:
    """A jitted function of (params, model_state, batch), compiled on demand for few sizes of batches."""

    def __init__(self, function: jax.stages.Wrapped, trained: Trained):
        self._function = function
        self._trained = trained
        self._compiled: dict[int, Callable[..., Any]] = {}
        self._compiling = threading.Lock()

    def __call__(self, images: np.ndarray, most: int) -> Any:
        """Computes the function on images, of which there are at most `most`; returns numpy arrays."""
        mesh = self._trained.mesh
        size = mesh.size
        while size < min(len(images), most):
            size = min(2 * size, most)
        padded = np.zeros((size, *images.shape[1:]), np.uint8)
        padded[: len(images)] = images
        arguments = (*self._trained.state.eval_variables, put_batch({"image": padded}, mesh))
        program = self._program(size)
        with held_alone(mesh):
            result = fetch(program(*arguments))
        return jax.tree.map(lambda x: x[: len(images)], result)

    def _program(self, size: int) -> Callable[..., Any]:
        if size not in self._compiled:
            with self._compiling:  # threads that wait here find the program that the first one has compiled
                if size not in self._compiled:
                    batch = {"image": jax.ShapeDtypeStruct((size, *self._trained.canvas, 3), np.uint8)}
                    self._compiled[size] = self._function.lower(*self._trained.state.eval_variables, batch).compile()
        return self._compiled[size]
