"""Writes tables as CSV for spreadsheets, JSON lines or Parquet."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from fashion_jax.atomic import replacing

TABLES = (".csv", ".jsonl", ".parquet")

Cell = str | float | None

Columns = Mapping[str, type[str] | type[float]]  # name -> type of the cells, in order

_BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"  # line breaks to some reader, as str.splitlines

_ESCAPED_BREAKS = {ord(c): f"\\u{ord(c):04x}" for c in _BREAKS}  # as in JSON; dumps() escapes only the ASCII ones

_INVISIBLE = "\u200b-\u200f\u2060\ufeff"

_SIGNS = "=+\\-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b"  # with full-width and small forms

_FORMULA = re.compile(  # matches just before text that a spreadsheet would take for a formula
    f"^(?=[\t\r\n])"
    f"|(?:^|(?<=[{_BREAKS}]))(?=(?:(?![{_BREAKS}])[\\s{_INVISIBLE}])*[{_SIGNS}])"
    f"|(?<=[;\t])(?=[{_SIGNS}])"  # a spreadsheet may split cells there, too
)


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Writes a table in full precision; None and NaN are empty cells.

    A cell with a line break of any kind is quoted, so that it stays one cell of one row. Text that a spreadsheet would
    take for a formula gets a single quote before it, after a line break too, where a simple reader begins a new row.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        write_rows(file, columns, rows)


def write_rows(file: TextIO, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Writes what `write_csv` writes to a file opened with newline=""."""
    writer = csv.writer(_Rows(file), lineterminator=_BREAKS)
    writer.writerow([_cell(column) for column in columns])
    writer.writerows([_cell(value) for value in row] for row in rows)


class _Rows:
    """A file for csv.writer that counts all of _BREAKS as line terminators, so that cells with them are quoted."""

    def __init__(self, file: TextIO):
        self.file = file

    def write(self, row: str) -> None:
        self.file.write(row.removesuffix(_BREAKS) + "\n")


def _cell(value: Cell) -> str | float:
    if isinstance(value, str):
        return _FORMULA.sub("'", encodable(value))
    return "" if value is None or math.isnan(value) else value


def write_table(path: Path, columns: Columns, rows: Sequence[Sequence[Cell]]) -> None:
    """Writes a table in the format of TABLES that the path's suffix names; the file is replaced atomically.

    Args:
        path: its parent folder exists.
        columns: name -> type of the cells, which Parquet stores.
        rows: a cell for each column; None is an empty cell of any type.
    """
    if path.suffix.lower() == ".csv":
        write_csv(path, list(columns), rows)
        return
    rows = [[encodable(value) if isinstance(value, str) else value for value in row] for row in rows]
    with replacing(path) as temporary:
        if path.suffix.lower() == ".jsonl":
            with temporary.open("w", encoding="utf-8", newline="\n") as file:
                for row in rows:
                    line = json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False)
                    file.write(line.translate(_ESCAPED_BREAKS) + "\n")
        else:
            _write_parquet(temporary, columns, rows)


def _write_parquet(path: Path, columns: Columns, rows: Sequence[Sequence[Cell]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = [pa.float64() if kind is float else pa.string() for kind in columns.values()]
    values = [[row[place] for row in rows] for place in range(len(columns))]
    table = pa.table([pa.array(v, kind) for v, kind in zip(values, kinds, strict=True)], names=list(columns))
    with path.open("wb") as file:
        pq.write_table(table, file)


def encodable(text: str) -> str:
    """Returns text without the lone surrogates that stand for invalid UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
