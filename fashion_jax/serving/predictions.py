"""Holds the prediction of an input, and arranges predictions as a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from fashion_jax.serving.table_files import Cell, Columns
from fashion_jax.taxonomy import UNKNOWN, Taxonomy, class_labels


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The prediction for one input, or the reason why it has none.

    Attributes:
        path: the name of the input.
        error: why there is no prediction; empty if there is one.
        classes: level -> class id, the best guess; UNKNOWN (-1) below a class without children; empty if there is no
            prediction.
        probabilities: level -> probability of that class.
        answer: the name of the deepest sure class, or UNSURE; None if there is no prediction.
    """

    path: str
    error: str = ""
    classes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    probabilities: Mapping[str, float] = dataclasses.field(default_factory=dict)
    answer: str | None = None

    def class_at(self, level: str) -> int:
        """Returns the class id at a level; UNKNOWN (-1) if there is none."""
        return self.classes.get(level, UNKNOWN)


def table_columns(taxonomy: Taxonomy, has_answers: bool) -> Columns:
    """Returns the columns of a table of predictions: name -> type of its cells.

    Args:
        taxonomy: the predicted levels and classes.
        has_answers: whether there is a column for the deepest sure class.
    """
    columns: dict[str, type[str] | type[float]] = {"path": str}
    for level in taxonomy.levels:
        columns |= {level: str, f"{level}_name": str, f"{level}_probability": float}
    if has_answers:
        columns["answer"] = str
    return columns | {"error": str}


def table_rows(predictions: Iterable[Prediction], taxonomy: Taxonomy, has_answers: bool) -> list[list[Cell]]:
    """Returns a row of `table_columns` for each prediction; cells are None where there is no class."""
    return [_row(prediction, taxonomy, has_answers) for prediction in predictions]


def _row(prediction: Prediction, taxonomy: Taxonomy, has_answers: bool) -> list[Cell]:
    row: list[Cell] = [prediction.path]
    for level in taxonomy.levels:
        class_id = prediction.class_at(level)
        if class_id == UNKNOWN:
            row += [None, None, None]
        else:
            name = taxonomy.classes[level][class_id]
            row += [name, class_labels(name)[-1], prediction.probabilities[level]]
    if has_answers:
        row.append(prediction.answer)
    return [*row, prediction.error]
