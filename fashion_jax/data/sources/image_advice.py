"""Explains why a table's images are not found, and suggests a data.image by which they are."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from fashion_jax.config.image_patterns import Value
from fashion_jax.data.fields import DataFields
from fashion_jax.data.sources.columns import Columns, read_columns
from fashion_jax.data.sources.image_names import ImageNames, pattern_columns
from fashion_jax.data.sources.table import image_patterns, table_file
from fashion_jax.data.sources.walk import is_image, walk
from fashion_jax.errors import UserError
from fashion_jax.letters import composed

_MAX_FILES = 200_000  # that are looked at below the folder

_MAX_ROWS = 100  # on which a suggestion is tested

_EXAMPLES = 3  # rows from which suggestions are made

_MOST = 0.9  # share of the rows that a good pattern finds

_FEW = 3  # characters; a shorter value is in too many names of files by chance

_SUFFIX = 5  # characters of the longest usual suffix, such as .jpeg


def image_advice(data: DataFields, folder: Path) -> str:
    """Returns what to do so that the images of a table are found, as the end of a sentence; "" if nothing is known.

    A suggested data.image has been tried on rows of the table.
    """
    patterns = image_patterns(data)
    used = pattern_columns(patterns)
    wanted = {**dict.fromkeys(used, "data.image"), **dict.fromkeys(map(composed, data.levels.values()), "data.levels")}
    columns = next(read_columns(table_file(data.csv, folder, data.path), wanted, [])).columns
    rows = _sample(patterns, columns, folder)
    found = _found(patterns, rows, folder)
    files = [path for path, error in itertools.islice(walk(str(folder)), _MAX_FILES) if not error and is_image(path)]
    missing = [{name: rows[name][i] for name in rows} for i in range(len(found)) if not found[i]][:_EXAMPLES]
    pairs = [(row, _file_of(row, used, files)) for row in missing]
    candidates = dict.fromkeys(x for row, file in pairs if file for x in _patterns(row, used, file))
    counts = {pattern: sum(_found([pattern], rows, folder)) for pattern in candidates}
    best = max(counts, key=counts.__getitem__, default="")
    finds = counts.get(best, 0)
    if finds < _MOST * len(found) and (reason := _explanation(pairs, used)):
        return reason
    if not files:
        return "there are no images below data.path, so set it to the folder that has them"
    if finds > sum(found):
        share = "them" if finds == len(found) else f"{finds} of the {len(found)} looked at"
        return f"set --config.data.image='{best}', which finds {share}"
    if sum(found) > _MOST * len(found):  # data.image is right, and these files are not there
        return ""
    return f"name the images as they are called below data.path, such as {files[0]!r}, by columns in data.image"


def _sample(patterns: Sequence[str], columns: Columns, folder: Path) -> Columns:
    """Returns some rows that name an image, half of them without a file if there are as many."""
    named = ImageNames(patterns, str(folder)).of_rows(columns, range(_count(columns)))[1]
    columns = {name: [values[i] for i in np.unique(named)] for name, values in columns.items()}
    found = _found(patterns, columns, folder)
    missing = [i for i, there in enumerate(found) if not there][: _MAX_ROWS // 2]
    chosen = missing + [i for i, there in enumerate(found) if there][: _MAX_ROWS - len(missing)]
    return {name: [values[i] for i in chosen] for name, values in columns.items()}


def _found(patterns: Sequence[str], columns: Columns, folder: Path) -> list[bool]:
    """Returns of each row whether it has an image by the patterns."""
    count = _count(columns)
    try:
        names, rows = ImageNames(patterns, str(folder)).of_rows(columns, range(count))
    except UserError:  # an image for two rows
        return [False] * count
    there = {row for name, row in zip(names, rows.tolist(), strict=True) if os.path.isfile(folder / name)}
    return [row in there for row in range(count)]


def _count(columns: Columns) -> int:
    return len(next(iter(columns.values())))


def _file_of(row: Mapping[str, str], used: Sequence[str], files: Sequence[str]) -> str:
    """Returns the file that is called most like a value of a row; "" if there is none."""
    values = [_last_part(row[name]).casefold() for name in used if row[name]]
    keys = [*values, *(os.path.splitext(value)[0] for value in values), *(value.removesuffix(".0") for value in values)]
    names = {file: os.path.basename(file).casefold() for file in files}
    whole = [re.escape(key) + r"(\.\w+)?" for key in keys]
    inside = [rf"(.*[^a-z0-9])?0*{re.escape(key)}([^a-z0-9].*)?" for key in keys if len(key) >= _FEW]
    for pattern in map(re.compile, (*whole, *(f"0*{x}" for x in whole), *inside)):
        if file := next((file for file, name in names.items() if pattern.fullmatch(name)), ""):
            return file
    return ""


def _last_part(value: str) -> str:
    """Returns the name of the file at the end of a path or an address."""
    return re.split(r"[/\\]", value.partition("?")[0])[-1]


def _patterns(row: Mapping[str, str], used: Sequence[str], file: str) -> Iterator[str]:
    """Yields patterns that name a file by parts of the row's values."""
    path = PurePosixPath(file)
    for column in used:
        yield _written(Value(column))
        yield from _tails(row[column], column, path)
        for value in _parts(row[column], column):
            text = value.of(row[column])
            if not text or text not in path.name:
                continue
            before, after = map(_literal, path.name.split(text, 1))
            for folders in dict.fromkeys((_folders(row, used, path), _literal(str(path.parent)))):
                place = "" if folders == "." else f"{folders}/"
                yield f"{place}{before}{_written(value)}{after}"
                if after == path.suffix and after:
                    yield f"{place}{before}{_written(value)}.*"


def _tails(text: str, column: str, path: PurePosixPath) -> Iterator[str]:
    """Yields patterns for a path or an address that ends as the path does, the longest end first."""
    for count in range(len(path.parts), 0, -1):
        end, place = "/".join(path.parts[-count:]), "".join(f"{part}/" for part in path.parts[:-count])
        if text.replace("\\", "/").endswith(f"/{end}"):
            yield _literal(place) + _written(Value(column, len(text) - len(end)))


def _parts(text: str, column: str) -> Iterator[Value]:
    """Yields the whole value, the name of the file at its end, and both without the suffix or an address's ?v=1."""
    start = max(text.rfind("/"), text.rfind("\\")) + 1
    ends = [None, *(-n for n in range(2, _SUFFIX + 1) if text[-n : 1 - n] == ".")]
    ends += [text.find("?") - len(text)] if "?" in text else []
    yield from (Value(column, begin or None, end) for begin in dict.fromkeys((0, start)) for end in ends)


def _folders(row: Mapping[str, str], used: Sequence[str], path: PurePosixPath) -> str:
    """Returns the folders of a file, those that are a value of the row, or its first characters, by their columns."""
    return "/".join(_folder(row, used, name) for name in path.parent.parts)


def _folder(row: Mapping[str, str], used: Sequence[str], name: str) -> str:
    if column := next((column for column, value in row.items() if value == name), ""):
        return _written(Value(column))
    digits = name.lstrip("0")  # what is written literally below are zeros
    for column in used:
        if digits and digits != row[column] and row[column].startswith(digits):
            return name[: len(name) - len(digits)] + _written(Value(column, None, len(digits)))
        if name and row[column].startswith(name):
            return _written(Value(column, None, len(name)))
    return _literal(name)


def _literal(text: str) -> str:
    """Writes a part of a file's name as in a pattern, where a brace is doubled."""
    return text.replace("{", "{{").replace("}", "}}")


def _written(value: Value) -> str:
    """Writes a value as in a pattern; parse_pattern reads it."""
    part = f"[{'' if value.start is None else value.start}:{'' if value.stop is None else value.stop}]"
    return f"{{{value.column}{'' if part == '[:]' else part}}}"


def _explanation(pairs: Sequence[tuple[Mapping[str, str], str]], used: Sequence[str]) -> str:
    """Explains values that no pattern turns into names of files; "" if they are not of these kinds."""
    for row, file in pairs:
        for column in used:
            if re.match(r"[a-z][a-z0-9+.-]+://", row[column], re.IGNORECASE):
                return (
                    f"{column!r} holds addresses, and nothing is downloaded: download the images into data.path, and "
                    "name the files in data.image by a column, such as images/{id}.jpg"
                )
            if os.path.basename(file).startswith("0") and not row[column].startswith("0"):
                return (
                    f"the table has lost the zeros that {column!r} began with ({row[column]} is {file} in data.path): "
                    "make it anew with this column as text"
                )
            last, name = _last_part(row[column]), os.path.basename(file)
            if last != name and last.casefold() == name.casefold():
                return (
                    f"{column!r} and the files differ in upper and lower case ({row[column]} is {file} in data.path): "
                    "rename the files, or correct the column"
                )
    return ""
