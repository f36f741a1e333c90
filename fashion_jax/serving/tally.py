"""Counts answers as they come, so that none has to be kept for what a command says at its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fashion_jax.scoring.calibration import UNSURE
from fashion_jax.serving.answers import Answer


class Tally:
    """Counts of answers, and the speed at which they came.

    Attributes:
        count: the answers so far.
        failed: those without a prediction.
        first_failed: the first of these.
        contradictions: those for which the model's own likeliest classes contradict each other.
        answered: level -> those whose deepest sure class is of that level.
    """

    def __init__(
        self, labels: Mapping[str, Sequence[str]], batch_size: int, clock: Callable[[], float] = time.monotonic
    ):
        """Begins now.

        Args:
            labels: level -> the names of its classes.
            batch_size: how many answers come together.
            clock: gives the time in seconds.
        """
        self.count = self.failed = self.contradictions = 0
        self.first_failed: Answer | None = None
        self.answered = dict.fromkeys(labels, 0)
        self._level_of = {name: level for level, names in labels.items() for name in names}
        self._batch_size, self._clock = batch_size, clock
        self._began = self._last = clock()
        self._first: float | None = None

    def add(self, answer: Answer) -> None:
        """Counts an answer."""
        self._last = self._clock()
        if self._first is None:
            self._first = self._last
        self.count += 1
        self.contradictions += answer.contradicts
        if answer.answer in self._level_of and answer.answer != UNSURE:
            self.answered[self._level_of[answer.answer]] += 1
        if answer.error:
            self.failed += 1
            self.first_failed = self.first_failed or answer

    def to_json(self) -> dict[str, Any]:
        """Returns the counts, without the speed, in a form that JSON can hold; see add_counts."""
        first = self.first_failed
        return {
            "count": self.count,
            "failed": self.failed,
            "first_failed": [first.path, first.error] if first else None,
            "contradictions": self.contradictions,
            "answered": self.answered,
        }

    def add_counts(self, counts: Mapping[str, Any]) -> None:
        """Adds the counts of later answers, which another tally has returned by to_json."""
        self.count += int(counts["count"])
        self.failed += int(counts["failed"])
        self.contradictions += int(counts["contradictions"])
        for level in self.answered:
            self.answered[level] += int(counts["answered"][level])
        if counts["first_failed"] and not self.first_failed:
            path, error = counts["first_failed"]
            self.first_failed = Answer(path, error)

    @property
    def predicted(self) -> int:
        """How many answers have a prediction."""
        return self.count - self.failed

    @property
    def seconds(self) -> float:
        """The time until the last answer."""
        return self._last - self._began

    @property
    def speed(self) -> float | None:
        """Answers per second after the first batch, which waits for the compiler; None if none came after it."""
        later = self.count - self._batch_size
        if self._first is None or later < self._batch_size or self._last <= self._first:
            return None
        return later / (self._last - self._first)
