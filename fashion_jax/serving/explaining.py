"""Keeps what --explain needs of a stream of answers, and writes heat maps of the first of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from fashion_jax.data.sources.inputs import Input
from fashion_jax.serving.answers import Answer
from fashion_jax.serving.grad_cam import MAX_EXPLAINED, explain_files, map_words
from fashion_jax.taxonomy import UNKNOWN
from fashion_jax.workdir.trained import Trained


class Explained:
    """The files and classes of the first MAX_EXPLAINED images that have a prediction.

    Attributes:
        predicted: how many images have a prediction.
    """

    def __init__(self, trained: Trained):
        labels = trained.taxonomy.classes
        self.predicted = 0
        self._trained = trained
        self._ids = {level: {name: i for i, name in enumerate(names)} for level, names in labels.items()}
        self._waiting: deque[str] = deque()
        self._files: list[str] = []
        self._numbers: list[int] = []
        self._classes: dict[str, list[int]] = {level: [] for level in labels}

    def followed(self, inputs: Iterable[Input]) -> Iterator[Input]:
        """Yields the inputs, and keeps the files of those that have no answer yet."""
        for item in inputs:
            self._waiting.append(item.file)
            yield item

    def kept(self, answers: Iterable[Answer]) -> Iterator[Answer]:
        """Yields the answers for the inputs that `followed` has yielded, and keeps the first of them."""
        for number, answer in enumerate(answers):
            self._keep(number, answer)
            yield answer

    def _keep(self, number: int, answer: Answer) -> None:
        file = self._waiting.popleft()
        if answer.error:
            return
        self.predicted += 1
        if self.predicted <= MAX_EXPLAINED:
            self._files.append(file)
            self._numbers.append(number)
            for level, ids in self._ids.items():
                self._classes[level].append(ids[answer.classes[level]] if level in answer.classes else UNKNOWN)

    @property
    def source(self) -> str:
        """Says in words what the heat maps are drawn from."""
        return map_words(self._trained)

    def write(self, folder: Path, batch_size: int | None) -> int:
        """Writes heat maps to a folder that exists; returns how many images have some."""
        classes = {level: np.array(ids, np.int32) for level, ids in self._classes.items()}
        return explain_files(self._trained, self._files, classes, self._numbers, folder, batch_size)
