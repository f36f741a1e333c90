"""Tables as CSV for spreadsheets."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from fashion_jax.report.drawing import encodable, replacing

Cell = str | float | None


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Writes a table, in full precision; None and NaN are empty cells.

    Text that a spreadsheet would take for a formula gets a leading single quote.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([_cell(column) for column in columns])
        writer.writerows([_cell(value) for value in row] for row in rows)


def _cell(value: Cell) -> str | float:
    if isinstance(value, str):
        value = encodable(value)
        return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else value
    return "" if value is None or math.isnan(value) else value
