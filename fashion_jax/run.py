"""A run: what stays the same from step to step, and how an epoch's time was spent."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from fashion_jax.checkpoint import Checkpoints
from fashion_jax.data.dataset import Dataset
from fashion_jax.data.pipeline import Images
from fashion_jax.evaluation import EvalFn
from fashion_jax.train_state import TrainState
from fashion_jax.writers import EventWriter, MetricsFile, Terminal


@dataclasses.dataclass
class Run:
    """What stays the same from step to step."""

    config: ConfigDict
    workdir: Path
    dataset: Dataset
    mesh: Mesh
    train_fn: Any  # of one step
    train_steps_fn: Any  # of config.steps_per_dispatch
    eval_fn: EvalFn
    create_state: Callable[[], TrainState]
    abstract_state: TrainState
    terminal: Terminal
    checkpoints: Checkpoints | None = None
    metrics_file: MetricsFile | None = None
    events: EventWriter | None = None
    validation: Images | None = None

    @property
    def steps_per_epoch(self) -> int:
        return len(self.dataset.splits["train"]) // self.config.batch_size

    @property
    def num_steps(self) -> int:
        return self.steps_per_epoch * self.config.num_epochs

    def is_scheduled(self, step: int) -> bool:
        """Whether a step is saved whatever happens: at every_steps, and at the ends of the epochs."""
        return step % self.config.checkpoint.every_steps == 0 or step % self.steps_per_epoch == 0

    @property
    def share(self) -> tuple[int, int]:
        return jax.process_index(), jax.process_count()


@dataclasses.dataclass
class Stopwatch:
    """How an epoch's time was spent."""

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
