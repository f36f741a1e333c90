"""Columns of a table, as texts: CSV (also with semicolons or tabs) and Parquet, a part of its rows at a time."""

from __future__ import annotations

import csv
import decimal
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fashion_jax.errors import UserError

Columns = dict[str, list[str]]  # name -> a value per row, without the blanks around it

_CHUNK = 1 << 11  # rows at a time: few, so that they are dropped before Python looks for garbage among them
_DELIMITERS = ",;\t"


def read_columns(path: Path, wanted: Sequence[str], optional: Sequence[str]) -> Iterator[Columns]:
    """The wanted columns, and the optional ones that are there, in parts of the rows; "" where a cell is empty.

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
        raise UserError(f"The table {str(path)!r} has no rows: data.csv must have a row per product.")


def _read_csv(path: Path, wanted: Sequence[str], optional: Sequence[str]) -> Iterator[Columns]:
    delimiter = _delimiter(path, wanted)
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)  # else an open quote swallows all further rows
        header = [name.strip() for name in next(reader, [])]
        places = {name: header.index(name) for name in _names(path, header, wanted, optional)}
        rows = filter(None, reader)
        width = max(places.values()) + 1
        while part := list(itertools.islice(rows, _CHUNK)):
            if min(map(len, part)) < width:
                part = [row + [""] * (width - len(row)) for row in part]
            yield {name: [row[place].strip() for row in part] for name, place in places.items()}


def _delimiter(path: Path, wanted: Sequence[str]) -> str:
    """The first by which the header has most of the wanted columns, and most columns."""

    def found(delimiter: str) -> tuple[int, int]:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = next(csv.reader(file, delimiter=delimiter), [])
        return len({name.strip() for name in header}.intersection(wanted)), len(header)

    return max(_DELIMITERS, key=found)


def _read_parquet(path: Path, wanted: Sequence[str], optional: Sequence[str]) -> Iterator[Columns]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        header = file.schema_arrow.names
        names = _names(path, [name.strip() for name in header], wanted, optional)
        stored = {name: next(other for other in header if other.strip() == name) for name in names}
        for batch in file.iter_batches(_CHUNK, columns=list(stored.values())):
            yield {
                name: [_as_text(value, name) for value in batch[other].to_pylist()] for name, other in stored.items()
            }


def _as_text(value: Any, column: str) -> str:
    """A value of a Parquet table as a person writes it: 1163, not 1163.0."""
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
    """The columns to read, after checks."""
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
