"""Tables as files: CSV for spreadsheets, JSON lines, Parquet."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from fashion_jax.report.drawing import encodable, replacing

TABLES = (".csv", ".jsonl", ".parquet")

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


def write_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Writes a table in the format of TABLES that the path's suffix names; the file is replaced whole.

    In Parquet, columns that end in _probability are numbers and all others texts.
    """
    if path.suffix.lower() == ".csv":
        write_csv(path, columns, rows)
        return
    rows = [[encodable(value) if isinstance(value, str) else value for value in row] for row in rows]
    with replacing(path) as temporary:
        if path.suffix.lower() == ".jsonl":
            with temporary.open("w", encoding="utf-8", newline="\n") as file:
                for row in rows:
                    record = dict(zip(columns, row, strict=True))
                    file.write(json.dumps(record, ensure_ascii=False) + "\n")
        else:
            _write_parquet(temporary, columns, rows)


def _write_parquet(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = [pa.float64() if column.endswith("_probability") else pa.string() for column in columns]
    values = [[row[place] for row in rows] for place in range(len(columns))]
    table = pa.table([pa.array(v, kind) for v, kind in zip(values, kinds, strict=True)], names=list(columns))
    pq.write_table(table, path)
