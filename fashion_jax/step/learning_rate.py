"""Computes the learning rate of each epoch, or of each step: a warm-up, then a schedule."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

_DIV_FACTOR, _FINAL_DIV_FACTOR = 25, 1e4  # torch.optim.lr_scheduler.OneCycleLR's
_PEAK = 0.3  # share of a one-cycle schedule up to its peak, if warmup_epochs does not say where it is


@dataclasses.dataclass(frozen=True)
class LearningRates:
    """The learning rates of a run.

    Attributes:
        values: in their order, float64 [num_epochs * per_epoch].
        per_epoch: how many of them an epoch has: 1, or one for each step.
        batch_size: images of a step.
        highest: the rate at the peak of the schedule: config.learning_rate, scaled to the batch size if it asks for it.
    """

    values: np.ndarray
    per_epoch: int
    batch_size: int
    highest: float

    def at(self, epoch: Array, seen: Array) -> Array:
        """Returns the learning rate of the step that follows `seen` images of an epoch, counted from 0; both int32."""
        return jnp.asarray(self.values)[self._place(epoch, seen, jnp.minimum)]

    def of(self, epoch: int, seen: int) -> float:
        """Returns what `at` does, for numbers of the host."""
        return float(self.values[self._place(epoch, seen, min)])

    def _place(self, epoch: Any, seen: Any, least: Callable[[Any, Any], Any]) -> Any:
        done = least(seen // self.batch_size, self.per_epoch - 1)
        return least(epoch * self.per_epoch + done, len(self.values) - 1)


def learning_rates(config: ConfigDict, num_images: int) -> LearningRates:
    """Returns the learning rates of a checked config, for epochs of so many images.

    Their highest is learning_rate, or learning_rate * batch_size / learning_rate_batch_size if that is above 0 (Goyal
    et al. 2017, https://arxiv.org/abs/1706.02677, section 2.1).

    They are stepped once per epoch, or once per step with schedule_per = step. The schedules are those of
    torch.optim.lr_scheduler: cosine is CosineAnnealingLR down to 0, exponential is ExponentialLR with gamma =
    learning_rate_decay per epoch, one_cycle is OneCycleLR with its defaults, the momentum staying as it is. Before
    cosine, exponential and constant the learning rate rises over warmup_epochs as by LinearLR with a start_factor of
    1 / (units + 1), where the warm-up has so many epochs or steps; one_cycle has its peak after warmup_epochs.
    """
    per_epoch = max(num_images // config.batch_size, 1) if config.schedule_per == "step" else 1
    count, warmup = config.num_epochs * per_epoch, round(config.warmup_epochs * per_epoch)
    highest = config.learning_rate
    if config.learning_rate_batch_size:
        highest *= config.batch_size / config.learning_rate_batch_size
    if config.schedule == "one_cycle":
        values = highest * _one_cycle(count, max(warmup, 1) if config.warmup_epochs else _PEAK * count)
        return LearningRates(values, per_epoch, config.batch_size, highest)
    units = np.arange(count - warmup)
    rising = highest * np.arange(1, warmup + 1) / (warmup + 1)
    if config.schedule == "cosine":
        after = highest * (1 + np.cos(np.pi * units / (count - warmup))) / 2
    elif config.schedule == "exponential":
        after = highest * config.learning_rate_decay ** (units / per_epoch)
    else:
        after = np.full(len(units), highest)
    return LearningRates(np.concatenate([rising, after]), per_epoch, config.batch_size, highest)


def _one_cycle(count: int, peak: float) -> np.ndarray:
    """Returns OneCycleLR's factors on the highest learning rate [count]; the peak is reached in `peak` units."""
    units, lowest = np.arange(count), 1 / _DIV_FACTOR
    rising = _between(lowest, 1, units / (peak - 1)) if peak > 1 else 1.0
    falling = _between(1, lowest / _FINAL_DIV_FACTOR, (units - peak + 1) / max(count - peak, 1e-9))
    return np.where(units <= peak - 1, rising, falling)


def _between(start: float, end: float, share: np.ndarray) -> np.ndarray:
    return end + (start - end) / 2 * (1 + np.cos(np.pi * share))
