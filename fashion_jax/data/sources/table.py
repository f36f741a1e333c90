"""The table of images with their labels, and the csv source, which reads it from a table of products."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, SupportsIndex

import numpy as np

from fashion_jax.config.fields import split_column
from fashion_jax.data.fields import DataFields
from fashion_jax.data.records.record_images import RecordNames
from fashion_jax.data.sources.columns import SUFFIXES, Part, RaggedRow, is_parquet, read_columns
from fashion_jax.data.sources.image_names import ImageNames, pattern_columns
from fashion_jax.data.sources.ragged import misplaced
from fashion_jax.data.sources.walk import printable_name
from fashion_jax.data.stored_names import stored_path
from fashion_jax.data.strings import Files, Strings
from fashion_jax.errors import UserError
from fashion_jax.letters import all_composed, composed

Labels = tuple[str, ...]  # labels of an image, coarse to fine; "" if not known

LeftOut = dict[str, list[str]]  # reason -> ids

_TABLES = (*SUFFIXES, ".txt")  # ends of names that a missing table is told of


class LabelPaths(Sequence[Labels]):
    """The labels of images; each distinct path of labels is stored once.

    Attributes:
        distinct: the paths of labels.
        codes: int32 [images], the index of each image's path in `distinct`.
    """

    def __init__(self, distinct: Sequence[Labels], codes: np.ndarray):
        self.distinct, self.codes = list(distinct), codes

    @classmethod
    def of(cls, paths: Sequence[Labels]) -> LabelPaths:
        known: dict[Labels, int] = {}
        codes = [known.setdefault(path, len(known)) for path in paths]
        return cls(list(known), np.array(codes, np.int32))

    def select(self, rows: Sequence[int] | np.ndarray) -> LabelPaths:
        return LabelPaths(self.distinct, self.codes[np.asarray(rows, np.int64)])

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, i: SupportsIndex) -> Labels:  # type: ignore[override]  # it is never sliced
        return self.distinct[self.codes[i]]


@dataclasses.dataclass(frozen=True)
class Table:
    """Images with their labels and further columns.

    Attributes:
        ids: the user's name of each image: its row's value in the id column, or the image's name without one.
        files: absolute paths.
        paths: labels.
        rows: int [images], ascending, the number of each image's row; the images of a row are consecutive.
        columns: further columns that the config names.
        unit: what the numbers of rows count for the user: "line" (of a CSV) or "row" (of a Parquet file); "" if there
            is no table.
        warnings: sentences, without their full stops, on what may be wrong with all images; a selection has none.
    """

    ids: Strings
    files: Files | RecordNames
    paths: LabelPaths
    rows: np.ndarray
    columns: dict[str, Strings]
    unit: str = ""
    warnings: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, images: Sequence[int] | np.ndarray) -> Table:
        """Returns the table of some images (int [n]), in the given order."""
        return Table(
            self.ids.select(images),
            self.files.select(images),
            self.paths.select(images),
            self.rows[np.asarray(images, np.int64)],
            {name: values.select(images) for name, values in self.columns.items()},
            self.unit,
        )

    def place(self, image: int) -> str:
        """Returns where the table has an image, such as "line 7"; "" if there is no table."""
        return self.unit and f"{self.unit} {self.rows[image]}"

    def named(self, images: Sequence[int] | np.ndarray, names: Strings | None = None) -> list[str]:
        """Returns the ids of images (int [n]), or their `names`, each with its place in the table."""
        texts = map(printable_name, (self.ids if names is None else names).select(images))
        places = map(self.place, np.asarray(images).tolist())
        return [f"{text} ({place})" if place else text for text, place in zip(texts, places, strict=True)]


def read_table(data: DataFields, folder: Path) -> tuple[Table, LeftOut]:
    """Reads the table in folder that the fields describe.

    Returns:
        The images of its rows, and the rows that are left out: they name no image, or their cells may be in the wrong
        columns.

    Raises:
        UserError: the folder, the table or a column is missing, the table cannot be read, or more than
            data.max_bad_fraction of its rows would be left out.
    """
    path = table_file(data.csv, folder, data.path)
    columns = _Columns.of(data)
    unit = "row" if is_parquet(path) else "line"
    names = ImageNames(columns.patterns, str(folder), unit)
    parts: list[tuple[Any, ...]] = []  # as _part returns them
    known: dict[Labels, int] = {}
    ragged: list[RaggedRow] = []
    nameless = _Nameless(unit, pattern_columns(columns.patterns))
    for part in read_columns(path, columns.wanted(), optional=["id"]):
        found, of = names.of_rows(part.columns, part.numbers)
        parts.append(_part(part, found, of, columns, known))
        nameless.add(part, of, columns.levels)
        ragged += part.ragged
    ids, files, codes, rows, *values = zip(*parts, strict=True)
    table = Table(
        ids=Strings.join(ids),
        files=Files(str(folder), Strings.join(files)),
        paths=LabelPaths(list(known), np.concatenate(codes)),
        rows=np.concatenate(rows),
        columns=dict(zip(columns.extra, map(Strings.join, values), strict=True)),
        unit=unit,
    )
    nameless.check(path, data.max_bad_fraction)
    if ragged:
        table, left_out = _without_misplaced(table, ragged, columns.levels, data.max_bad_fraction, path)
        return table, nameless.left_out | left_out
    return table, nameless.left_out


class _Columns(NamedTuple):
    """The columns that the config names, their accents composed.

    Attributes:
        patterns: of data.image.
        levels: columns of the labels, coarse to fine.
        extra: columns of groups and splits, as the config writes them.
    """

    patterns: list[str]
    levels: list[str]
    extra: list[str]

    @classmethod
    def of(cls, data: DataFields) -> _Columns:
        extra = dict.fromkeys(name for name in (data.group_column, split_column(data.splits)) if name)
        return cls(
            image_patterns(data),
            [composed(column) for column in data.levels.values()],
            list(extra),
        )

    def wanted(self) -> dict[str, str]:
        """Returns column -> the field that names it, for all columns that the table must have."""
        fields = (
            ("data.group_column or data.splits", map(composed, self.extra)),
            ("data.image", pattern_columns(self.patterns)),
            ("data.levels", self.levels),
        )
        found = {column: field for field, columns in fields for column in columns}
        return {column: found[column] for column in [*self.levels, *found]}


class _Nameless:
    """Collects the rows that name no image, since all cells that data.image uses are empty."""

    def __init__(self, unit: str, fields: Sequence[str]):
        self.left_out: LeftOut = {}
        self._unit, self._bad, self._num_rows = unit, 0, 0
        self._what = f"{'the cell' if len(fields) == 1 else 'each cell'} of {', '.join(map(repr, fields))} is empty"

    def add(self, part: Part, of: np.ndarray, levels: Sequence[str]) -> None:
        """Adds those of a part of which only the rows `of` have images; rows without labels too are not bad."""
        count = len(part.numbers)
        self._num_rows += count
        for i in np.setdiff1d(np.arange(count), of).tolist():
            has_label = any(part.columns[level][i] for level in levels)
            self._bad += has_label
            reason = self._what if has_label else "no cell that the config names is filled"
            self.left_out.setdefault(reason, []).append(f"{self._unit} {part.numbers[i]}")

    def check(self, path: Path, max_bad_fraction: float) -> None:
        """Raises a UserError if too many rows have labels, but no image."""
        if self._bad > max_bad_fraction * self._num_rows:
            raise UserError(
                f"{self._bad} of {self._num_rows} rows of the table {str(path)!r} name no image, such as "
                f"{self.left_out[self._what][0]}, where {self._what}: fill it, take the rows out, or raise "
                f"data.max_bad_fraction, {max_bad_fraction}."
            )


def _without_misplaced(
    table: Table, ragged: Sequence[RaggedRow], levels: Sequence[str], max_bad_fraction: float, path: Path
) -> tuple[Table, LeftOut]:
    """Returns the table without the rows whose cells may be in the wrong columns, and these rows."""
    whole = ~np.isin(table.rows, [row.line for row in ragged])
    good = {table.paths.distinct[code] for code in np.unique(table.paths.codes[whole])}
    found = misplaced(ragged, levels, good)
    has_images = np.isin([row.line for row in found], table.rows)
    bad = [row for row, has_image in zip(found, has_images.tolist(), strict=True) if has_image]
    num_rows = len(np.unique(table.rows))
    if len(bad) > max_bad_fraction * num_rows:
        first = bad[0]
        raise UserError(
            f"{len(bad)} of {num_rows} rows of the table {str(path)!r} have more or fewer cells than its header, so "
            f"that labels may stand in wrong columns, such as line {first.line} ({len(first.cells)} cells instead of "
            f"{first.width}): quote cells that hold the delimiter, or raise data.max_bad_fraction, {max_bad_fraction}."
        )
    left_out: LeftOut = {}
    for row in bad:
        more_or_fewer = "more" if len(row.cells) > row.width else "fewer"
        left_out.setdefault(f"the row has {more_or_fewer} cells than the header", []).extend(
            table.named([int(np.searchsorted(table.rows, row.line))])
        )
    return table.select(np.flatnonzero(~np.isin(table.rows, [row.line for row in bad]))), left_out


def _part(
    part: Part, names: list[str], of: np.ndarray, columns: _Columns, known: dict[Labels, int]
) -> tuple[Strings | np.ndarray, ...]:
    """Returns, for the images of some rows: ids, names, label codes, row numbers and extra columns; extends `known`.

    Args:
        part: the rows.
        names: of the images.
        of: int [images], the row of each.
        columns: that the config names.
        known: label path -> its code.
    """
    paths = zip(*map(part.columns.get, columns.levels), strict=True)
    codes = np.array([known.setdefault(path, len(known)) for path in paths], np.int32)
    ids = part.columns.get("id")
    texts = [Strings(part.columns[composed(name)]) for name in columns.extra]
    texts = [_ids_of_names(names, of) if ids is None else Strings(ids).select(of), *(x.select(of) for x in texts)]
    return texts[0], Strings(names), codes[of], part.numbers[of], *texts[1:]


def _ids_of_names(names: Sequence[str], of: np.ndarray) -> Strings:
    """Returns for each image the name of the first image of its row."""
    _, first, row = np.unique(of, return_index=True, return_inverse=True)
    return Strings(all_composed([printable_name(names[i]) for i in first])).select(row)


def image_patterns(data: DataFields) -> list[str]:
    """Returns the patterns of data.image with ~ expanded and composed accents."""
    patterns = [data.image] if isinstance(data.image, str) else data.image
    return [composed(os.path.expanduser(pattern)) for pattern in patterns]


def table_file(csv: str, folder: Path, source: str) -> Path:
    """Returns the path of the table in the folder of the images: data.csv, or styles.csv if that is empty.

    Args:
        csv: the field data.csv.
        folder: of the images; if data.path is a zip, it has been extracted there.
        source: the field data.path.

    Raises:
        UserError: the folder or the table is missing.
    """
    check_folder(folder)
    name = os.path.expanduser(csv or "styles.csv")
    path = stored_path(folder / name)
    if not os.path.isfile(path):
        default = "" if csv else " (the default)"
        beside = Path(os.path.expanduser(source)).absolute().parent if source else folder.parent
        elsewhere = [str(other) for other in (Path(name).absolute(), beside / name) if other.is_file()]
        there = sorted(other.name for other in folder.iterdir() if other.suffix.casefold() in _TABLES)
        found = " or ".join(map(repr, (elsewhere or there)[:3]))
        way_out = found or "the table's name; it is relative to data.path"
        place = os.path.join(source or folder, name)
        raise UserError(f"There is no table {place!r}{default}: set data.csv to {way_out}.")
    return path


def check_folder(folder: Path) -> None:
    """Raises a UserError if data.path is not a folder that can be read."""
    if not os.path.isdir(folder):
        raise UserError(f"data.path is {str(folder)!r}, which is not a folder or a zip: name the one with the images.")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise UserError(f"data.path is {str(folder)!r}, which you may not read: change its permissions (chmod u+rx).")


FOLDERS = ""  # name of the column of splits that folders define; no config can name it
