"""Writes tables as CSV for spreadsheets, JSON lines or Parquet."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np

from fashion_jax.atomic import replacing

TABLES = (".csv", ".jsonl", ".parquet")

Cell = str | float | None | list[str] | list[float] | np.ndarray  # only JSON lines and Parquet take lists and arrays

Columns = Mapping[str, type]  # name -> type of the cells, in order: str, float, list[str], list[float] or np.ndarray

_ROW_GROUP = 2**20  # numbers of a group of rows of Parquet, which is in memory until it is whole
_CELL = 16  # numbers that take as much memory as a cell that is no list

_LISTS = (list, np.ndarray)  # types of cells

_NONE: Mapping[bytes, bytes] = {}

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
    assert not isinstance(value, _LISTS), "a cell of a CSV is a text or a number"
    return "" if value is None or math.isnan(value) else value


def write_table(
    path: Path,
    columns: Columns,
    rows: Iterable[Sequence[Cell]],
    metadata: Mapping[bytes, bytes] = _NONE,
    metadata_at_end: Callable[[], Mapping[bytes, bytes]] = dict,
    *,
    suffix: str = "",
) -> None:
    """Writes a table in the format of TABLES that a suffix names; the file is replaced atomically.

    Rows are written as they come, so that a table of any length takes little memory.

    Args:
        path: its parent folder exists.
        columns: name -> type of the cells, which Parquet stores.
        rows: a cell for each column; None is an empty cell of any type. What they raise leaves no file.
        metadata: of Parquet's schema.
        metadata_at_end: returns what the metadata of Parquet's file say besides; called after the last row.
        suffix: one of TABLES, in upper or lower case, if the path is one that a link with this suffix leads to; "" for
            that of the path.
    """
    suffix = (suffix or path.suffix).lower()
    if suffix == ".csv":
        write_csv(path, list(columns), rows)
        return
    rows = ([encodable(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    with replacing(path) as temporary:
        if suffix == ".jsonl":
            _write_json_lines(temporary, list(columns), rows)
        else:
            _write_parquet(temporary, columns, rows, metadata, metadata_at_end)


def _write_json_lines(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            values = [cell.tolist() if isinstance(cell, np.ndarray) else cell for cell in row]
            line = json.dumps(dict(zip(columns, values, strict=True)), ensure_ascii=False)
            file.write(line.translate(_ESCAPED_BREAKS) + "\n")


def _write_parquet(
    path: Path,
    columns: Columns,
    rows: Iterable[Sequence[Cell]],
    metadata: Mapping[bytes, bytes],
    metadata_at_end: Callable[[], Mapping[bytes, bytes]],
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    lists = {list[str]: pa.list_(pa.string()), list[float]: pa.list_(pa.float64()), np.ndarray: pa.list_(pa.float32())}
    kinds = {str: pa.string(), float: pa.float64()} | lists
    schema = pa.schema([(name, kinds[kind]) for name, kind in columns.items()], metadata or None)
    # pyarrow opens no path that is not UTF-8
    with path.open("wb") as file, pq.ParquetWriter(file, schema) as writer:
        for group in _row_groups(rows):
            arrays = [pa.array(cells, kind) for cells, kind in zip(zip(*group, strict=True), schema.types, strict=True)]
            writer.write_table(pa.table(arrays, schema=schema))
        writer.add_key_value_metadata(dict(metadata_at_end()))


def _row_groups(rows: Iterable[Sequence[Cell]]) -> Iterator[list[Sequence[Cell]]]:
    """Splits rows into groups of about _ROW_GROUP numbers, so that few are held in memory."""
    group: list[Sequence[Cell]] = []
    values = 0
    for row in rows:
        group.append(row)
        values += sum(len(cell) if isinstance(cell, _LISTS) else _CELL for cell in row)
        if values >= _ROW_GROUP:
            yield group
            group, values = [], 0
    if group:
        yield group


def encodable(text: str) -> str:
    """Returns text without the lone surrogates that stand for invalid UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
