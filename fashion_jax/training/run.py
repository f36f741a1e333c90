"""Holds what stays the same from step to step of a run, and measures how an epoch's time was spent."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from fashion_jax.data.batches.pipeline import Images
from fashion_jax.data.dataset import Dataset
from fashion_jax.devices.mesh import local_rows
from fashion_jax.step.guard import slowed
from fashion_jax.step.program import Program
from fashion_jax.step.train_state import TrainState
from fashion_jax.step.train_step import Batch, Outcome
from fashion_jax.terminal import Terminal
from fashion_jax.training.epoch_table import EpochTable
from fashion_jax.training.progress import TrainingProgress
from fashion_jax.training.schedule import Schedule
from fashion_jax.training.watchdog import Watchdog
from fashion_jax.workdir.checkpoints.store import Checkpoints
from fashion_jax.workdir.metrics_file import EventWriter, MetricsFile

StepFn = Callable[[TrainState, Batch], tuple[TrainState, Outcome]]  # the jitted train_step, or its compiled form


@dataclasses.dataclass(frozen=True)
class Run:
    """The parts of a run that stay the same from step to step.

    Attributes:
        program: the jitted steps and their static parts.
        train_step: program.train_step, or the function that it is compiled to in the background.
        progressive_step: likewise of program.progressive, for the epochs whose images have progressive.image_size.
        workdir: the directory of the run's files.
        dataset: the images and labels of each split.
        validation: the opened images of the validation split.
        schedule: the run's position in its epochs.
        checkpoints: the saved states.
        metrics_file: the lines of the epochs that have ended.
        events: the events for TensorBoard; None in the processes that write nothing.
        terminal: the lines that a user sees.
        progress: the line that says how far the steps are.
        table: the lines of the epochs that have ended.
        watchdog: ends the run if its loop hangs.
    """

    program: Program
    train_step: StepFn
    progressive_step: StepFn
    workdir: Path
    dataset: Dataset
    validation: Images
    schedule: Schedule
    checkpoints: Checkpoints
    metrics_file: MetricsFile
    events: EventWriter | None
    terminal: Terminal
    progress: TrainingProgress
    table: EpochTable
    watchdog: Watchdog

    @property
    def config(self) -> ConfigDict:
        return self.program.config

    @property
    def rows(self) -> np.ndarray:
        """Returns the rows of a batch that this process reads."""
        return local_rows(self.program.mesh, self.config.batch_size)

    def step_function(self, step: int, count: int) -> StepFn:
        """Returns the function of a dispatch of so many steps of an epoch, of which `step` is the last."""
        is_progressive = self.schedule.is_progressive(self.schedule.epoch_of(step))
        if count > 1:
            return (self.program.progressive if is_progressive else self.program).train_steps
        return self.progressive_step if is_progressive else self.train_step

    def learning_rate(self, step: int, rollbacks: int) -> float:
        """Returns the learning rate of a future step, counted from 1, or of the last one, after so many rollbacks."""
        planned = self.program.learning_rates.of(self.schedule.epoch_of(step) - 1, self.schedule.seen_before(step))
        return slowed(planned, self.config.nonfinite.learning_rate_factor, rollbacks)


@dataclasses.dataclass
class Stopwatch:
    """Measures how an epoch's time was spent."""

    start: float = dataclasses.field(default_factory=time.monotonic)
    waited: float = 0.0  # for data, in seconds
    steps: int = 0
    last_lap: tuple[float, int] | None = None  # the time and the steps at the end of the last lap

    def timing(self, batch_size: int) -> dict[str, float]:
        seconds = max(time.monotonic() - self.start, 1e-9)
        return {
            "images_per_second": self.steps * batch_size / seconds,
            "data_wait_fraction": self.waited / seconds,
            "train_seconds": seconds,
            "batch_size": batch_size,
        }

    def lap(self, batch_size: int) -> float:
        """Returns the images per second since the last lap or the start; NaN if there was no step."""
        now, (begin, steps) = time.monotonic(), self.last_lap or (self.start, 0)
        self.last_lap = now, self.steps
        return (self.steps - steps) * batch_size / max(now - begin, 1e-9) if self.steps > steps else math.nan
