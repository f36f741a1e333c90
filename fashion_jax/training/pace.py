"""Measures how fast a run trains and evaluates, and estimates the time that is left."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable

from fashion_jax.training.schedule import Schedule

_REMEMBERED = 60  # steps after which earlier ones count little: an epoch that decodes its images is slower than others

MEASURED = 19  # steps before an estimate: those of the first 20 but the one that is compiled

_OFF = 0.25  # error of an estimate, as a share of it, at which it is corrected
_NEGLIGIBLE = 20.0  # seconds; no smaller error is corrected


class Pace:
    """The seconds of a step and of an evaluation, in this process.

    Steps are measured in intervals that end where their outcome is fetched anyway, so that the device never waits for
    the measurement. Until steps of another image size are measured, their time is taken as proportional to their cost.
    That is too long for larger images whose reading takes most of the time.

    Attributes:
        began: when the first interval began, after the compilation; None before.
        measured: steps of all intervals.
        wait_share: the share of recent time spent waiting for data.
        evaluation_seconds: of the last evaluation, without compilation; None if not known yet.
    """

    def __init__(self, schedule: Schedule, clock: Callable[[], float] = time.monotonic):
        self._schedule, self._clock = schedule, clock
        self.began: float | None = None
        self.measured = 0
        self._seconds = math.nan  # of a step whose images have image_size
        self._cost = 1.0  # of the last step, relative to such a step
        self.wait_share = 0.0
        self.evaluation_seconds: float | None = None
        self._has_evaluated = False
        self._interval: tuple[float, int, float] | None = None
        self._expected_end: float | None = None
        self._is_corrected = False

    @property
    def step_seconds(self) -> float:
        """Returns the seconds of recent steps; NaN before the first interval has ended."""
        return self._seconds * self._cost

    def start(self, step: int, waited: float) -> None:
        """Begins an interval after a step, unless one has begun; `waited` is the seconds waited for data so far."""
        now = self._clock()
        self.began = now if self.began is None else self.began
        if self._interval is None or self._interval[1] > step:  # which a rollback takes back
            self._interval = (now, step, waited)

    def pause(self) -> None:
        """Drops the interval that has begun, as what follows is no training."""
        self._interval = None

    def measure(self, step: int, waited: float, *, is_last: bool = False) -> None:
        """Ends the interval with a step that has been fetched, and begins the next one unless this is the last."""
        if self._interval is None or step <= self._interval[1]:
            return
        (began, first, waited_before), now = self._interval, self._clock()
        steps, seconds = step - first, max(now - began, 1e-9)
        weight = steps / (steps + min(self.measured, _REMEMBERED))
        cost = self._schedule.cost(self._schedule.epoch_of(step))
        measured = seconds / steps / cost
        before = measured if math.isnan(self._seconds) or cost != self._cost else self._seconds
        self._cost = cost
        self._seconds = before + weight * (measured - before)
        self.wait_share += weight * ((waited - waited_before) / seconds - self.wait_share)
        self.measured += steps
        self._interval = None if is_last else (now, step, waited)

    def evaluated(self, seconds: float, head_start: float | None) -> None:
        """Notes the seconds of an evaluation and those of them that only the first one takes; None if not known."""
        if head_start is not None:
            self.evaluation_seconds = max(seconds - head_start, 0)
        elif self._has_evaluated:
            self.evaluation_seconds = seconds
        self._has_evaluated = True

    def left(self, step: int) -> float:
        """Returns the seconds that the steps after `step` and the evaluations will take, NaN if not known yet."""
        evaluations = sum(end > step for end in self._schedule.epoch_ends)
        return self._schedule.weighted_steps(step) * self._seconds + evaluations * (self.evaluation_seconds or 0)

    def epoch_seconds(self) -> float:
        """Returns the mean seconds of the future epochs, as whole ones, with their evaluation; NaN if not known yet."""
        epochs = [epoch for end, epoch in self._schedule.epoch_ends.items() if end > self._schedule.position.step]
        steps = self._schedule.steps_per_epoch * statistics.fmean(map(self._schedule.cost, epochs))
        return steps * self._seconds + (self.evaluation_seconds or 0)

    @property
    def has_estimated(self) -> bool:
        """Returns whether `new_estimate` has returned an estimate before."""
        return self._expected_end is not None

    def new_estimate(self, step: int) -> float | None:
        """Returns the seconds left after a step if they should be told: once, and again if they were far off."""
        left, now = self.left(step), self._clock()
        if math.isnan(left) or self._is_corrected:
            return None
        if self._expected_end is not None:
            off = abs(now + left - self._expected_end)
            if self.evaluation_seconds is None or off <= max(_OFF * (self._expected_end - now), _NEGLIGIBLE):
                return None
            self._is_corrected = True
        self._expected_end = now + left
        return left
