"""Holds the prediction of an input, and arranges predictions as a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from fashion_jax.serving.table_files import Cell
from fashion_jax.taxonomy import UNKNOWN, Taxonomy


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The prediction for one input, or the reason why it has none.

    Attributes:
        path: the name of the input.
        error: why there is no prediction; empty if there is one.
        classes: level -> class id, UNKNOWN (-1) where no class is sure; empty if there is no prediction.
        probabilities: level -> probability of that class.
        answer: the name of the deepest sure class; None if there is no prediction.
    """

    path: str
    error: str = ""
    classes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    probabilities: Mapping[str, float] = dataclasses.field(default_factory=dict)
    answer: str | None = None

    def class_at(self, level: str) -> int:
        """Returns the class id at a level; UNKNOWN (-1) if there is none."""
        return self.classes.get(level, UNKNOWN)


def table_columns(taxonomy: Taxonomy, has_answers: bool) -> list[str]:
    """Returns the names of the columns of a table of predictions.

    Args:
        taxonomy: the predicted levels and classes.
        has_answers: whether there is a column for the deepest sure class.
    """
    columns = ["path"]
    for level in taxonomy.levels:
        columns += [level, f"{level}_probability"]
    if has_answers:
        columns.append("answer")
    return [*columns, "error"]


def table_rows(predictions: Iterable[Prediction], taxonomy: Taxonomy, has_answers: bool) -> list[list[Cell]]:
    """Returns a row of `table_columns` for each prediction; cells are None where no class is sure."""
    return [_row(prediction, taxonomy, has_answers) for prediction in predictions]


def _row(prediction: Prediction, taxonomy: Taxonomy, has_answers: bool) -> list[Cell]:
    row: list[Cell] = [prediction.path]
    for level in taxonomy.levels:
        class_id = prediction.class_at(level)
        if class_id == UNKNOWN:
            row += [None, None]
        else:
            row += [taxonomy.classes[level][class_id], prediction.probabilities[level]]
    if has_answers:
        row.append(prediction.answer)
    return [*row, prediction.error]
