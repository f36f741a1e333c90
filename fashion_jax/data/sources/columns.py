"""Reads columns of a table as strings: CSV (also with semicolons or tabs) and Parquet, some rows at a time."""

from __future__ import annotations

import csv
import decimal
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fashion_jax.errors import UserError
from fashion_jax.letters import all_composed, composed

Columns = dict[str, Sequence[str]]  # name -> a value per row, stripped, its accents composed

_CHUNK = 1 << 11  # rows per part: few, so that they are freed before Python's garbage collector examines them

_DELIMITERS = ",;\t"

_LINE_BREAK = re.compile(r"\r\n|\r|\n")


class RaggedRow(NamedTuple):
    """A row of a CSV with more or fewer cells than the header, so that its cells may be in the wrong columns.

    Attributes:
        row: its number in its part.
        line: the line of the file where it begins; the header is line 1.
        cells: the cells, stripped.
        width: the number of columns of the header.
        places: column -> its index in the header.
    """

    row: int
    line: int
    cells: list[str]
    width: int
    places: dict[str, int]


class Part(NamedTuple):
    """Some consecutive rows of a table; ragged rows are read as if the surplus or missing cells were at the end."""

    columns: Columns
    ragged: list[RaggedRow]


def read_columns(path: Path, wanted: Sequence[str], optional: Sequence[str]) -> Iterator[Part]:
    """Yields the wanted columns, and the optional ones that exist, in parts of the rows; "" for an empty cell.

    Args:
        path: the table.
        wanted: names of columns, their accents composed.
        optional: names of columns that may be missing.

    Raises:
        UserError: the table cannot be read, has no rows, or lacks a column or has it twice.
    """
    is_parquet = path.suffix.lower() == ".parquet"
    read, kind = (_read_parquet, "Parquet") if is_parquet else (_read_csv, "CSV in UTF-8")
    parts = read(path, wanted, optional)
    empty = True
    while True:
        try:
            part = next(parts, None)
        except (OSError, ValueError, csv.Error, NotImplementedError) as error:  # ValueError: pyarrow's errors, UTF-8
            raise UserError(f"The table {str(path)!r} cannot be read ({error}): save it as {kind}.") from error
        if part is None:
            break
        empty = False
        yield part
    if empty:
        raise UserError(f"The table {str(path)!r} has no rows: data.csv must have one row per product.")


def _read_csv(path: Path, wanted: Sequence[str], optional: Sequence[str]) -> Iterator[Part]:
    delimiter = _delimiter(path, wanted)
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(
            file, delimiter=delimiter, strict=True
        )  # strict: otherwise an unclosed quote swallows all further rows
        header = _header(next(reader, []))
        places = {name: header.index(name) for name in _names(path, header, wanted, optional)}
        widths = range(max((i for i, name in enumerate(header, 1) if name), default=0), len(header) + 1)
        try:
            while chunk := list(itertools.islice(reader, _CHUNK)):
                is_ragged = not all(len(row) in widths for row in chunk)
                rows, ragged = _ragged(chunk, reader.line_num, widths, places) if is_ragged else (chunk, [])
                values = {name: [row[place].strip() for row in rows] for name, place in places.items()}
                if rows:
                    yield Part({name: all_composed(texts) for name, texts in values.items()}, ragged)
        except csv.Error as error:
            raise csv.Error(f"line {reader.line_num}: {error}") from error


def _ragged(
    chunk: Sequence[list[str]], last_line: int, widths: range, places: dict[str, int]
) -> tuple[list[list[str]], list[RaggedRow]]:
    """Returns the rows without blank lines, padded to the width of the header, and the ragged ones among them.

    The header may end in delimiters that its rows lack, so rows may have any of several `widths`.
    """
    heights = [1 + sum(len(_LINE_BREAK.findall(cell)) for cell in row) for row in chunk]
    lines = last_line + 1 - np.cumsum(heights[::-1])[::-1]
    rows: list[list[str]] = []
    ragged: list[RaggedRow] = []
    for row, line in zip(chunk, lines.tolist(), strict=True):
        if len(row) > 1 or (row and row[0].strip()):
            if len(row) not in widths:
                ragged.append(RaggedRow(len(rows), line, [composed(x.strip()) for x in row], widths.start, places))
            rows.append(row + [""] * (widths.start - len(row)))
    return rows, ragged


def _header(names: Sequence[str]) -> list[str]:
    return [composed(name.strip()) for name in names]


def _delimiter(path: Path, wanted: Sequence[str]) -> str:
    """Returns the delimiter that splits the header into the most wanted columns, and then into the most columns."""

    def found(delimiter: str) -> tuple[int, int]:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = next(csv.reader(file, delimiter=delimiter), [])
        return len({*_header(header)}.intersection(wanted)), len(header)

    return max(_DELIMITERS, key=found)


def _read_parquet(path: Path, wanted: Sequence[str], optional: Sequence[str]) -> Iterator[Part]:
    import pyarrow.parquet as pq

    with path.open("rb") as opened, pq.ParquetFile(opened) as file:
        stored = file.schema_arrow.names
        header = _header(stored)
        places = {name: header.index(name) for name in _names(path, header, wanted, optional)}
        for batch in file.iter_batches(_CHUNK, columns=[stored[place] for place in places.values()]):
            columns = {name: batch[stored[place]].to_pylist() for name, place in places.items()}
            yield Part(
                {name: all_composed([_as_text(x, name) for x in values]) for name, values in columns.items()}, []
            )


def _as_text(value: Any, column: str) -> str:
    """Converts a value of a Parquet table to the text that a person would write: 1163, not 1163.0."""
    if isinstance(value, str):
        return value.strip()
    if value is None or value != value:
        return ""
    if isinstance(value, list | tuple | dict):
        raise ValueError(f"its column {column!r} holds {type(value).__name__}s, not texts or numbers")
    if isinstance(value, bytes):
        return value.decode("utf-8").strip()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return f"{value.normalize():f}" if isinstance(value, decimal.Decimal) else str(value)


def _names(path: Path, header: Sequence[str], wanted: Sequence[str], optional: Sequence[str]) -> list[str]:
    """Checks and returns the names of the columns to read."""
    if missing := [name for name in wanted if name not in header]:
        hint = "; separate its columns by commas" if len(header) == 1 else ""
        raise UserError(
            f"The table {str(path)!r} has no column {missing[0]!r}; it has: {', '.join(header) or 'none'}{hint}."
        )
    names = [*wanted, *(name for name in optional if name in header and name not in wanted)]
    if twice := [name for name in names if header.count(name) > 1]:
        raise UserError(
            f"The table {str(path)!r} has {header.count(twice[0])} columns {twice[0]!r}: rename all but one."
        )
    return names
