"""Plans the steps of a run: its position in the data, the ends of its epochs, and the steps that are saved."""

from __future__ import annotations

import math
from typing import NamedTuple

from fashion_jax.devices.mesh import fetch
from fashion_jax.step.train_state import TrainState
from fashion_jax.workdir.position import BEGINNING, Position, epoch_ends


class Resizing(NamedTuple):
    """Progressive resizing.

    Attributes:
        epochs: how many of the first epochs are trained on smaller images.
        cost: the time of a step of these epochs, relative to that of the others, as it is expected.
    """

    epochs: int
    cost: float


NO_RESIZING = Resizing(0, 1.0)


class Schedule:
    """The future steps of a run, from the position where it resumed or to which it was rolled back.

    Attributes:
        position: the position where the steps begin.
        epoch_ends: step -> epoch, counted from 1, for each epoch that ends at the position or after it.
    """

    position: Position
    epoch_ends: dict[int, int]

    def __init__(
        self, num_images: int, batch_size: int, num_epochs: int, every_steps: int, resizing: Resizing = NO_RESIZING
    ):
        """Begins at step 0; steps are saved at multiples of every_steps and at the end of every epoch."""
        self._resizing = resizing
        self._num_images, self._batch_size, self._num_epochs = num_images, batch_size, num_epochs
        self._every_steps = every_steps
        self.start_at(None)

    def start_at(self, state: TrainState | None) -> None:
        """Sets where the next steps begin: at a state's position, or at the beginning without a state.

        Raises:
            UserError: no epoch of the config can continue from there.
        """
        self.position = BEGINNING
        if state is not None:
            step, epoch, seen = fetch((state.step, state.epoch, state.seen))
            self.position = Position(int(step), int(epoch), int(seen))
        self.epoch_ends = epoch_ends(self.position, self._num_images, self._batch_size, self._num_epochs)

    def end_at(self, last: int) -> None:
        """Makes the end of an epoch that of the run."""
        self.epoch_ends = {step: epoch for step, epoch in self.epoch_ends.items() if step <= last}

    @property
    def num_steps(self) -> int:
        return max(self.epoch_ends)

    @property
    def steps_per_epoch(self) -> int:
        """Returns the steps of an epoch that is trained as a whole."""
        return self._num_images // self._batch_size

    @property
    def num_epochs(self) -> int:
        """Returns the last epoch, counted from 1."""
        return max(self.epoch_ends.values())

    def epoch_of(self, step: int) -> int:
        """Returns the epoch, counted from 1, that a future step belongs to."""
        return self.epoch_ends[self.end_of(step)]

    def is_progressive(self, epoch: int) -> bool:
        """Returns whether the images of an epoch, counted from 1, are trained at progressive.image_size."""
        return epoch <= self._resizing.epochs

    def cost(self, epoch: int) -> float:
        """Returns the expected time of a step of an epoch, counted from 1, relative to one at image_size."""
        return self._resizing.cost if self.is_progressive(epoch) else 1.0

    def weighted_steps(self, step: int) -> float:
        """Returns the number of steps after `step`, each weighted by its cost."""
        total = 0.0
        for end, epoch in self.epoch_ends.items():
            total += max(end - step, 0) * self.cost(epoch)
            step = max(step, end)
        return total

    def end_of(self, step: int) -> int:
        """Returns the last step of the epoch that a future step belongs to."""
        return next(end for end in self.epoch_ends if step <= end)

    def seen_before(self, step: int) -> int:
        """Returns how many images of its epoch come before a future step, or before the last one."""
        end = self.end_of(step)
        if self.position.seen and end == min(self.epoch_ends):  # the epoch within which the run resumed
            return self.position.seen + (step - self.position.step - 1) * self._batch_size
        return (self.steps_per_epoch - 1 - (end - step)) * self._batch_size

    def most_scheduled(self, count: int) -> int:
        """Returns how many of `count` successive steps are saved in any case, at most."""
        return math.ceil(count / self._every_steps) + math.ceil(count / self.steps_per_epoch)

    def is_scheduled(self, step: int) -> bool:
        """Returns whether a future step is saved in any case: at multiples of every_steps, and at ends of epochs."""
        return step in self.epoch_ends or step % self._every_steps == 0
