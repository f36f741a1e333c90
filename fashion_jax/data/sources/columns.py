"""Reads columns of a table as strings: CSV (also with semicolons, tabs or bars) and Parquet, some rows at a time."""

from __future__ import annotations

import contextlib
import csv
import decimal
import difflib
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from fashion_jax.errors import UserError
from fashion_jax.letters import all_composed, composed

Columns = dict[str, Sequence[str]]  # name -> a value per row, stripped, its accents composed

SUFFIXES = (".csv", ".tsv", ".parquet")  # of the names of tables

_CHUNK = 1 << 11  # rows per part: few, so that they are freed before Python's garbage collector examines them

_DELIMITERS = ",;\t|"

_LINE_BREAK = re.compile(r"\r\n|\r|\n")

_MAX_CELL = 1 << 17  # characters of a cell that is used; a longer one is no label and no name of a file

_MAX_NAMES = 40  # of columns that a message lists

_IN_UTF8 = "CSV in UTF-8 (in Excel “CSV UTF-8 (comma delimited)”)"

# First bytes of files that are no CSV -> what they are.
_OTHER_FORMATS = {
    b"PK\x03\x04": "a workbook of Excel, Numbers or LibreOffice, or a zip",
    b"\xd0\xcf\x11\xe0": "a workbook of an old Excel",
    b"\x1f\x8b": "a gzip archive",
    b"{": "JSON",
    b"[": "JSON",
    b"<": "a web page or XML",
}

csv.field_size_limit((1 << 31) - 1)  # columns that are not used may have cells of any size


class RaggedRow(NamedTuple):
    """A row of a CSV with more or fewer cells than the header, so that its cells may be in the wrong columns.

    Attributes:
        line: the line of the file where it begins; the first is line 1.
        cells: the cells, stripped.
        width: the number of columns of the header.
        places: column -> its index in the header.
    """

    line: int
    cells: list[str]
    width: int
    places: dict[str, int]


class Part(NamedTuple):
    """Some consecutive rows of a table, without blank ones and repeats of the header.

    Attributes:
        columns: name -> a value per row; "" for an empty cell. Ragged rows are read as if the surplus or missing cells
            were at the end.
        numbers: int64 [rows], ascending: of a CSV the line where each row begins, of a Parquet file its row from 1.
        ragged: the rows whose cells may be in the wrong columns.
    """

    columns: Columns
    numbers: np.ndarray
    ragged: list[RaggedRow]


def is_parquet(path: Path) -> bool:
    """Whether a table is a Parquet file, by its name or its first bytes."""
    return path.suffix.lower() == ".parquet" or _first_bytes(path) == b"PAR1"


def read_columns(path: Path, wanted: Mapping[str, str], optional: Sequence[str]) -> Iterator[Part]:
    """Yields the wanted columns, and the optional ones that exist, in parts of the rows.

    Args:
        path: the table.
        wanted: names of columns, their accents composed -> the field of the config, or the flag, that needs each.
        optional: names of columns that may be missing.

    Raises:
        UserError: the table cannot be read, has no rows, or lacks a column or has it twice.
    """
    read, kind = (_read_parquet, "Parquet") if is_parquet(path) else (_read_csv, "CSV in UTF-8")
    parts = read(path, wanted, optional)
    empty = True
    while True:
        with _readable(path, kind):
            part = next(parts, None)
        if part is None:
            break
        empty = False
        yield part
    if empty:
        raise UserError(f"The table {str(path)!r} has no rows: it must have one for each image.")


def text_columns(path: Path) -> list[str]:
    """Returns the names of the columns that can hold texts, without those that several columns have.

    Raises:
        UserError: the table cannot be read.
    """
    header = _text_columns_of_parquet(path) if is_parquet(path) else _header_of_csv(path)
    return [name for name in header if name and header.count(name) == 1]


def _header_of_csv(path: Path) -> list[str]:
    with _readable(path, "CSV in UTF-8"), _read_as_csv(path), _opened(path) as file:
        reader = csv.reader(file, delimiter=_delimiter(path, ()), skipinitialspace=True, strict=True)
        return _header(next(_rows(reader, path), (0, []))[1])


def _text_columns_of_parquet(path: Path) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _readable(path, "Parquet"), path.open("rb") as opened:
        schema = pq.read_schema(opened)
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_dictionary)
    return _header([field.name for field in schema if any(is_text(field.type) for is_text in texts)])


@contextlib.contextmanager
def _readable(path: Path, kind: str) -> Iterator[None]:
    """Turns what is raised while a table is read into a message that names the kind of file it should be."""
    try:
        yield
    except (OSError, ValueError, NotImplementedError) as error:  # ValueError: pyarrow's errors
        raise UserError(f"The table {str(path)!r} cannot be read ({error}): save it as {kind}.") from error


def _read_csv(path: Path, wanted: Mapping[str, str], optional: Sequence[str]) -> Iterator[Part]:
    with _read_as_csv(path):
        yield from _parts_of_csv(path, wanted, optional)


@contextlib.contextmanager
def _read_as_csv(path: Path) -> Iterator[None]:
    """Refuses a file of another format, and says in which line a file that the block reads is not in UTF-8."""
    start = _first_bytes(path)
    if other := next((name for first, name in _OTHER_FORMATS.items() if start.startswith(first)), ""):
        raise UserError(
            f"The table {str(path)!r} is {other}, not a CSV: open it, save it as {_IN_UTF8}, and name that file."
        )
    try:
        yield
    except UnicodeDecodeError as error:
        raise UserError(
            f"The table {str(path)!r} cannot be read, as line {_line_of_bad_byte(path)} is not in UTF-8 "
            f"({error.reason}): save it as {_IN_UTF8}."
        ) from error


def _parts_of_csv(path: Path, wanted: Mapping[str, str], optional: Sequence[str]) -> Iterator[Part]:
    with _opened(path) as file:
        delimiter = _delimiter(path, wanted)
        # strict: otherwise an open quote swallows all further rows
        rows = _rows(csv.reader(file, delimiter=delimiter, skipinitialspace=True, strict=True), path)
        first = next(rows, (0, []))[1]
        header = _header(first)
        places = {name: header.index(name) for name in _names(path, header, wanted, optional)}
        widths = range(max((i for i, name in enumerate(header, 1) if name), default=0), len(header) + 1)
        while chunk := list(itertools.islice(rows, _CHUNK)):
            _check_quotes(path, chunk, len(header), delimiter)
            whole, ragged = _padded([(line, row) for line, row in chunk if row != first], widths, places)
            if whole:
                columns = {name: all_composed([row[i].strip() for _, row in whole]) for name, i in places.items()}
                part = Part(columns, np.array([line for line, _ in whole], np.int64), ragged)
                _check_lengths(path, part)
                yield part


def _opened(path: Path) -> TextIO:
    is_utf16 = _first_bytes(path)[:2] in (b"\xff\xfe", b"\xfe\xff")  # as Excel writes “Unicode text”
    return path.open(newline="", encoding="utf-16" if is_utf16 else "utf-8-sig")


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(4)
    except OSError:  # which is reported where the table is read
        return b""


def _rows(reader: Any, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields the line where each row begins, and its cells; leaves out blank rows and Excel's line sep=;.

    Raises:
        UserError: quotes are wrong; names the line.
    """
    line = 1
    try:
        for row in reader:
            if any(map(str.strip, row)) and not (line == 1 and row[0].lower().startswith("sep=")):
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"The table {str(path)!r} cannot be read, as quotes are wrong in the row that begins in line {line} "
            f'({error}): close every cell that begins with a quote, and write quotes inside such a cell twice ("").'
        ) from error


def _check_quotes(path: Path, rows: Sequence[tuple[int, list[str]]], width: int, delimiter: str) -> None:
    """Checks that no cell holds whole rows, which a quote at the beginning of a cell does that is not meant as one.

    Such a cell has as many delimiters in its first and last line as the rows they are of, and so have all between. In a
    text of several lines a space follows them.
    """
    for line, row in rows:
        for place, cell in enumerate(row):
            if "\n" not in cell and "\r" not in cell:
                continue
            pieces = [text.split(delimiter) for text in _LINE_BREAK.split(cell)]
            counts, between = [len(x) - 1 for x in pieces], len(pieces) - 2
            of_rows = [width - 1 - place, *[width - 1] * between, place]
            is_text = any(not piece.strip() or piece[0].isspace() for x in pieces for piece in x)
            if width > 2 and between > 0 and counts == of_rows and not is_text:
                raise UserError(
                    f"The table {str(path)!r} has a cell in line {line} that holds {between + 1} rows, since it begins "
                    'with a quote: write the quote twice (""), and the cell between quotes.'
                )


def _padded(
    rows: Sequence[tuple[int, list[str]]], widths: range, places: dict[str, int]
) -> tuple[Sequence[tuple[int, list[str]]], list[RaggedRow]]:
    """Returns the rows, padded to the width of the header, and the ragged ones among them.

    The header may end in delimiters that its rows lack, so rows may have any of several `widths`.
    """
    if all(len(row) in widths for _, row in rows):
        return rows, []
    ragged = [
        RaggedRow(line, [composed(cell.strip()) for cell in row], widths.start, places)
        for line, row in rows
        if len(row) not in widths
    ]
    return [(line, row + [""] * (widths.start - len(row))) for line, row in rows], ragged


def _check_lengths(path: Path, part: Part) -> None:
    for name, values in part.columns.items():
        if max(map(len, values)) > _MAX_CELL:
            i = next(i for i, value in enumerate(values) if len(value) > _MAX_CELL)
            raise UserError(
                f"The table {str(path)!r} has {len(values[i]):,} characters in a cell of {name!r}, line "
                f"{part.numbers[i]}: correct it, or name another column."
            )


def _line_of_bad_byte(path: Path) -> int:
    """Returns the first line of a file that is not in its encoding."""
    data = path.read_bytes()
    with _opened(path) as file:
        encoding = file.encoding
    try:
        data.decode(encoding)
    except UnicodeDecodeError as error:
        return 1 + len(_LINE_BREAK.findall(data[: error.start].decode(encoding, "replace")))
    return 1


def _header(names: Sequence[str]) -> list[str]:
    return [composed(name.strip()) for name in names]


def _delimiter(path: Path, wanted: Iterable[str]) -> str:
    """Returns the delimiter that Excel's first line names.

    Without such a line, it is the one that splits the header into the most wanted columns, and then into the most
    columns.
    """
    with _opened(path) as file:
        if named := re.fullmatch(r'"?sep=(.)"?\s*', file.readline(), re.IGNORECASE):
            return named[1]

    def found(delimiter: str) -> tuple[int, int]:
        with _opened(path) as file:
            header = _header(
                next(_rows(csv.reader(file, delimiter=delimiter, skipinitialspace=True), path), (0, []))[1]
            )
        return len({*header}.intersection(wanted)), len(header)

    return max(_DELIMITERS, key=found)


def _read_parquet(path: Path, wanted: Mapping[str, str], optional: Sequence[str]) -> Iterator[Part]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with path.open("rb") as opened, pq.ParquetFile(opened) as file:
        stored = file.schema_arrow.names
        header = _header(stored)
        places = {name: header.index(name) for name in _names(path, header, wanted, optional)}
        for name, place in places.items():
            if pa.types.is_nested(kind := file.schema_arrow.field(place).type):
                raise UserError(
                    f"The table {str(path)!r} has lists or tables in the cells of its column {name!r} ({kind}): save "
                    "it with a column of texts or numbers for each part that is needed."
                )
        first = 1
        for batch in file.iter_batches(_CHUNK, columns=[stored[place] for place in places.values()]):
            values = {name: [_as_text(x) for x in batch[stored[i]].to_pylist()] for name, i in places.items()}
            numbers = np.arange(first, first + batch.num_rows)
            first += batch.num_rows
            yield Part({name: all_composed(texts) for name, texts in values.items()}, numbers, [])


def _as_text(value: Any) -> str:
    """Converts a value of a Parquet table to the text that a person would write: 1163, not 1163.0."""
    if isinstance(value, str):
        return value.strip()
    if value is None or value != value:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8").strip()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return f"{value.normalize():f}" if isinstance(value, decimal.Decimal) else str(value)


def _names(path: Path, header: Sequence[str], wanted: Mapping[str, str], optional: Sequence[str]) -> list[str]:
    """Checks and returns the names of the columns to read."""
    if missing := [name for name in wanted if name not in header]:
        named = list(filter(None, header))
        if not named:
            raise UserError(f"The table {str(path)!r} is empty: let its first line name the columns.")
        if not missing[0]:
            raise UserError(
                f"The table {str(path)!r} needs a column for each level, but {wanted['']} names none for one: name "
                f"them, e.g. --config.data.levels=\"{{'class': {named[0]!r}}}\"."
            )
        more = f" and {len(named) - _MAX_NAMES:,} more" if len(named) > _MAX_NAMES else ""
        raise UserError(
            f"The table {str(path)!r} has no column {missing[0]!r}, which {wanted[missing[0]]} needs; it has: "
            f"{', '.join(named[:_MAX_NAMES])}{more}{_hint(missing[0], named)}"
        )
    names = [*wanted, *(name for name in optional if name in header and name not in wanted)]
    if twice := [name for name in names if header.count(name) > 1]:
        raise UserError(
            f"The table {str(path)!r} has {header.count(twice[0])} columns {twice[0]!r}: rename all but one."
        )
    return names


def _hint(name: str, header: Sequence[str]) -> str:
    """Returns what to do about a column that is not there, as the end of a sentence."""
    if len(header) == 1:
        return "; separate its columns by commas, and let the names of the columns be the first row."
    if close := difflib.get_close_matches(name.casefold(), [other.casefold() for other in header], 1, 0.8):
        return f"; did you mean {next(other for other in header if other.casefold() == close[0])!r}?"
    if re.search(r"[\[:!.]", name):
        return "; a part of a value is written as {COLUMN[:3]}, {COLUMN[-2:]} or {COLUMN[0]}."
    return ": name one of them there."
