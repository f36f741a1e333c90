"""Arranges answers as the rows of a table."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np

from fashion_jax.errors import UserError
from fashion_jax.serving.answers import Answer
from fashion_jax.serving.table_files import Cell, Columns
from fashion_jax.taxonomy import class_labels


@dataclasses.dataclass(frozen=True)
class PredictionTable:
    """The columns of a table of answers, which its metadata explain.

    Attributes:
        labels: level -> the names of its classes.
        has_answers: whether there is a column for the deepest sure class.
        top_k: how many of the likeliest classes of each level have columns.
        all_probabilities: whether there is a list of the probabilities of all classes for each level.
        embeddings: whether there is a list of the features.
        is_flat: whether cells hold no lists, as in a CSV: each of the likeliest classes has columns of its own, and
            there are neither `all_probabilities` nor `embeddings`.
    """

    labels: Mapping[str, list[str]]
    has_answers: bool = False
    top_k: int = 0
    all_probabilities: bool = False
    embeddings: bool = False
    is_flat: bool = False

    def __post_init__(self) -> None:
        """Raises a UserError if two columns would have the same name."""
        for name, count in Counter(name for name, _ in self._columns()).items():
            if count > 1:
                raise UserError(
                    f"The table would have two columns {name!r}, since a level of the run is called so: leave out "
                    "--top-k, --all-probabilities or --embeddings, or give the level another name in a new run."
                )

    @property
    def columns(self) -> Columns:
        """Name -> type of the cells, in order."""
        return dict(self._columns())

    def _columns(self) -> Iterator[tuple[str, type]]:
        yield "path", str
        for level in self.labels:
            yield from ((level, str), (f"{level}_name", str), (f"{level}_probability", float))
            if self.top_k and not self.is_flat:
                yield from ((f"{level}_top", list[str]), (f"{level}_top_probabilities", list[float]))
            elif self.top_k:
                for place in range(1, self.top_k + 1):
                    yield from ((f"{level}_top_{place}", str), (f"{level}_top_{place}_probability", float))
            if self.all_probabilities:
                yield f"{level}_probabilities", np.ndarray
        if self.embeddings:
            yield "embedding", np.ndarray
        if self.has_answers:
            yield "answer", str
        yield "error", str

    @property
    def metadata(self) -> Mapping[bytes, bytes]:
        """What Parquet stores beside the columns: the classes that the lists of probabilities are in the order of."""
        from fashion_jax.workdir.predictions import CLASSES  # which imports jax

        return {CLASSES: json.dumps(self.labels).encode()}

    def row(self, answer: Answer) -> list[Cell]:
        """Returns a cell for each column; None where there is nothing."""
        row: list[Cell] = [answer.path]
        for level in self.labels:
            name = answer.classes.get(level)
            row += [name, self._own_names[name] if name else None, answer.probabilities.get(level)]
            if self.top_k:
                row += self._top(answer, level)
            if self.all_probabilities:
                row.append(answer.all_probabilities[level] if answer.all_probabilities else None)
        if self.embeddings:
            row.append(answer.embedding)
        if self.has_answers:
            row.append(answer.answer)
        return [*row, answer.error]

    @functools.cached_property
    def _own_names(self) -> dict[str, str]:
        """Class -> its own name, without its parents'."""
        return {name: class_labels(name)[-1] for names in self.labels.values() for name in names}

    def _top(self, answer: Answer, level: str) -> list[Cell]:
        if level not in answer.top:
            return [None, None] * (self.top_k if self.is_flat else 1)
        names, probabilities = (list(values) for values in zip(*answer.top[level], strict=True))
        if not self.is_flat:
            return [names, probabilities]
        cells = [cell for pair in answer.top[level] for cell in pair]
        return cells + [None] * (2 * self.top_k - len(cells))
