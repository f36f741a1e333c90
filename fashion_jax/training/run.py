"""Holds what stays the same from step to step of a run, and measures how an epoch's time was spent."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from fashion_jax.data.batches.pipeline import Images
from fashion_jax.data.dataset import Dataset
from fashion_jax.devices.mesh import fetch, local_rows
from fashion_jax.step.prediction import EvalFn
from fashion_jax.step.train_state import TrainState
from fashion_jax.training.terminal import Terminal
from fashion_jax.workdir.checkpoints.identity import Identity
from fashion_jax.workdir.checkpoints.store import Checkpoints
from fashion_jax.workdir.metrics_file import EventWriter, MetricsFile
from fashion_jax.workdir.position import BEGINNING, Position, epoch_ends


@dataclasses.dataclass
class Run:
    """The parts of a run that stay the same from step to step."""

    config: ConfigDict
    workdir: Path
    dataset: Dataset
    mesh: Mesh
    train_fn: Any  # runs one step
    train_steps_fn: Any  # runs config.steps_per_dispatch steps
    eval_fn: EvalFn
    create_state: Callable[[], TrainState]
    abstract_state: TrainState
    terminal: Terminal
    identity: Identity
    position: Position = BEGINNING  # where this start of the run began, or was rolled back to
    epoch_ends: dict[int, int] = dataclasses.field(default_factory=dict)  # of the epochs from there on: step -> epoch
    checkpoints: Checkpoints | None = None
    metrics_file: MetricsFile | None = None
    events: EventWriter | None = None
    validation: Images | None = None

    def start_at(self, state: TrainState | None) -> None:
        """Sets where the next steps begin: at a state's position, or at the beginning without a state.

        Raises:
            UserError: no epoch of the config can continue from there.
        """
        config, num_images = self.config, len(self.dataset.splits["train"])
        self.position = BEGINNING
        if state is not None:
            self.position = Position(*map(int, fetch((state.step, state.epoch, state.seen))))
        self.epoch_ends = epoch_ends(self.position, num_images, config.batch_size, config.num_epochs)

    @property
    def num_steps(self) -> int:
        return max(self.epoch_ends)

    def epoch_of(self, step: int) -> int:
        """Returns the epoch, counted from 1, that a future step belongs to."""
        return next(epoch for end, epoch in self.epoch_ends.items() if step <= end)

    def is_scheduled(self, step: int) -> bool:
        """Returns whether a step is saved in any case: at multiples of every_steps, and at the ends of epochs."""
        is_end = step in self.epoch_ends or step in self.checkpoints.scores
        return is_end or step % self.config.checkpoint.every_steps == 0

    @property
    def rows(self) -> np.ndarray:
        """Returns the rows of a batch that this process reads."""
        return local_rows(self.mesh, self.config.batch_size)


@dataclasses.dataclass
class Stopwatch:
    """Measures how an epoch's time was spent."""

    start: float = dataclasses.field(default_factory=time.monotonic)
    waited: float = 0.0  # for data, in seconds
    steps: int = 0

    def timing(self, batch_size: int) -> dict[str, float]:
        seconds = max(time.monotonic() - self.start, 1e-9)
        return {
            "images_per_second": self.steps * batch_size / seconds,
            "data_wait_fraction": self.waited / seconds,
            "train_seconds": seconds,
        }
