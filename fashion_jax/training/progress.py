"""Says how far the training is: the line that is redrawn on a screen, and the estimate of the whole time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from fashion_jax.command_line.formats import UNDEFINED, about, duration, rate
from fashion_jax.training.pace import MEASURED, Pace
from fashion_jax.training.schedule import Schedule

_WAITING = 0.05  # share of the time spent waiting for data from which on it is shown
_BAR = (8, 20)  # columns of the bar, at least and at most


class TrainingProgress:
    """The activity of the steps: an epoch, the loss, the speed and the time left."""

    def __init__(
        self, schedule: Schedule, num_epochs: int, batch_size: int, clock: Callable[[], float] = time.monotonic
    ):
        self._schedule, self._num_epochs, self._batch_size, self._clock = schedule, num_epochs, batch_size, clock
        self._began, self._step = clock(), schedule.position.step
        self._fetched: tuple[float, int, float] | None = None
        self.pace = Pace(schedule, clock)

    def dispatched(self, step: int) -> None:
        """Notes the last step that was given to the device."""
        self._step = step

    def fetched(self, step: int, loss: float) -> None:
        """Notes the loss of a step that the device has finished."""
        self._fetched = (self._clock(), step, loss)

    def line(self, now: float, width: int | None) -> str:
        """Returns the progress in a line of `width` columns, or without a bar if width is None; see Activity."""
        num_steps = self._schedule.num_steps
        current = min(self._step, num_steps)  # a rollback or an early stop may have changed the schedule just now
        epoch = f"epoch {self._schedule.epoch_of(current)}/{self._num_epochs}"
        elapsed = f"elapsed {duration(now - self._began)}"
        if self.pace.began is None:
            return f"Compiling the training step, decoding the first images: {elapsed}"
        if self._fetched is None or math.isnan(self.pace.step_seconds):
            return f"step {current}/{num_steps}, {epoch}: {elapsed}"
        time_of_fetch, step, value = self._fetched
        loss = f"loss {value:.3f}" if math.isfinite(value) else f"loss {UNDEFINED}"
        left = f"left {duration(max(self.pace.left(step) - (now - time_of_fetch), 0))}"
        speed = f"{rate(self._batch_size / self.pace.step_seconds)} img/s"
        wait = [f"data wait {self.pace.wait_share:.0%}"] if self.pace.wait_share > _WAITING else []
        if width is None:
            parts = [loss, speed, *wait, elapsed, left]
            return f"step {current}/{num_steps}, {epoch}: {', '.join(parts)}"
        return _bar_line(epoch, current / num_steps, [loss, speed, *wait, elapsed, left], width)

    def new_estimate(self, step: int, *, is_epochs_end: bool = False) -> str:
        """Returns the estimate of the time after a step as a sentence; "" if there is none, or it was told already."""
        if self.pace.measured < MEASURED and not is_epochs_end:
            return ""
        is_first, left = not self.pace.has_estimated, self.pace.new_estimate(step)
        if left is None or step == self._schedule.num_steps:
            return ""
        if self._schedule.position.step:
            first, again, seconds, since = "time left", "left", left, step
        else:
            first, again, seconds, since = "total time", "in total", self._clock() - self._began + left, 0
        parts = []
        if (epochs := sum(end > since for end in self._schedule.epoch_ends)) > 1:
            parts.append(f"{epochs} epochs of {about(self.pace.epoch_seconds())}")
        parts.append(f"evaluation {'not ' if self.pace.evaluation_seconds is None else ''}included")
        text = f"Estimated {first}: {about(seconds)}" if is_first else f"Corrected estimate: {about(seconds)} {again}"
        return f"{text} ({', '.join(parts)})."


def _bar_line(epoch: str, done: float, parts: list[str], width: int) -> str:
    """Joins the parts of the line; leaves out the bar, and then parts from the middle, if they do not fit."""
    head = f"{epoch} {done:4.0%}"
    for out in ((), ("data",), ("data", "elapsed"), ("data", "elapsed", "loss")):
        drawn = [part for part in parts if not part.startswith(out)]
        text = "  ".join([head, *drawn])
        if len(text) <= width:
            break
    free = width - len(text) - len(" []")
    if free < _BAR[0]:
        return text
    size = min(free, _BAR[1])
    filled = int(done * size)
    return f"{epoch} [{'#' * filled}{'-' * (size - filled)}]{text[len(epoch) :]}"
