"""The table of images with their labels, and the csv source, which reads it from a table of products."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np

from fashion_jax.data.fields import DataFields
from fashion_jax.data.records.record_images import RecordNames
from fashion_jax.data.sources.columns import Columns, RaggedRow, read_columns
from fashion_jax.data.sources.image_names import ImageNames, pattern_columns
from fashion_jax.data.sources.ragged import misplaced
from fashion_jax.data.sources.stored_names import stored_path
from fashion_jax.data.sources.walk import printable_name
from fashion_jax.data.strings import Files, Strings
from fashion_jax.errors import UserError
from fashion_jax.letters import all_composed, composed

Labels = tuple[str, ...]  # labels of an image, coarse to fine; "" if not known

LeftOut = dict[str, list[str]]  # reason -> ids


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
        rows: int [images], the number of each image's row; the images of a row are consecutive.
        columns: further columns that the config names.
    """

    ids: Strings
    files: Files | RecordNames
    paths: LabelPaths
    rows: np.ndarray
    columns: dict[str, Strings]

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
        )


def read_table(data: DataFields, folder: Path) -> tuple[Table, LeftOut]:
    """Reads the table in folder that the fields describe.

    Returns:
        The images of its rows, and the rows that are left out because their cells may be in the wrong columns.

    Raises:
        UserError: the folder, the table or a column is missing, the table cannot be read, or more than
            data.max_bad_fraction of its rows would be left out.
    """
    path = table_file(data.csv, folder)
    patterns = [composed(os.path.expanduser(x)) for x in ([data.image] if isinstance(data.image, str) else data.image)]
    extra = [name for name in (data.group_column, data.splits) if isinstance(name, str) and name]
    levels = [composed(column) for column in data.levels.values()]
    wanted = list(dict.fromkeys([*levels, *pattern_columns(patterns), *map(composed, extra)]))
    names = ImageNames(patterns, str(folder))
    parts: list[tuple[Any, ...]] = []  # as _part returns them
    known: dict[Labels, int] = {}
    ragged: list[RaggedRow] = []
    num_rows = 0
    for columns, odd in read_columns(path, wanted, optional=["id"]):
        parts.append(_part(columns, *names.of_rows(columns), levels, list(map(composed, extra)), known, num_rows))
        ragged += [row._replace(row=row.row + num_rows) for row in odd]
        num_rows += len(columns[wanted[0]])
    ids, files, codes, rows, *values = zip(*parts, strict=True)
    table = Table(
        ids=Strings.join(ids),
        files=Files(str(folder), Strings.join(files)),
        paths=LabelPaths(list(known), np.concatenate(codes)),
        rows=np.concatenate(rows),
        columns=dict(zip(extra, map(Strings.join, values), strict=True)),
    )
    return _without_misplaced(table, ragged, levels, data.max_bad_fraction, path) if ragged else (table, {})


def _without_misplaced(
    table: Table, ragged: Sequence[RaggedRow], levels: Sequence[str], max_bad_fraction: float, path: Path
) -> tuple[Table, LeftOut]:
    """Returns the table without the rows whose cells may be in the wrong columns, and these rows."""
    whole = ~np.isin(table.rows, [row.row for row in ragged])
    good = {table.paths.distinct[code] for code in np.unique(table.paths.codes[whole])}
    bad = misplaced(ragged, levels, good)
    num_rows = int(table.rows[-1]) + 1
    if len(bad) > max_bad_fraction * num_rows:
        first = bad[0]
        raise UserError(
            f"{len(bad)} of {num_rows} rows of the table {str(path)!r} have more or fewer cells than its header, so "
            f"that labels may stand in wrong columns, such as line {first.line} ({len(first.cells)} cells instead of "
            f"{first.width}): quote cells that hold the delimiter, or raise data.max_bad_fraction, {max_bad_fraction}."
        )
    left_out: LeftOut = {}
    for row in bad:
        name = table.ids[int(np.searchsorted(table.rows, row.row))]
        more_or_fewer = "more" if len(row.cells) > row.width else "fewer"
        left_out.setdefault(f"the row has {more_or_fewer} cells than the header", []).append(
            f"{name} (line {row.line})"
        )
    return table.select(np.flatnonzero(~np.isin(table.rows, [row.row for row in bad]))), left_out


def _part(
    columns: Columns,
    names: list[str],
    rows: np.ndarray,
    levels: Sequence[str],
    extra: Sequence[str],
    known: dict[Labels, int],
    first_row: int,
) -> tuple[Strings | np.ndarray, ...]:
    """Returns, for the images of some rows: ids, names, label codes, row numbers and extra columns; extends `known`."""
    codes = [known.setdefault(path, len(known)) for path in zip(*map(columns.get, levels), strict=True)]
    ids = columns.get("id") or _ids_of_names(names, rows)
    texts = [Strings(ids), *(Strings(columns[name]) for name in extra)]
    if len(names) > len(ids):
        texts = [values.select(rows) for values in texts]
    return texts[0], Strings(names), np.array(codes, np.int32)[rows], rows + first_row, *texts[1:]


def _ids_of_names(names: Sequence[str], rows: np.ndarray) -> Sequence[str]:
    """Returns the name of each row's first image."""
    return all_composed([printable_name(names[i]) for i in np.unique(rows, return_index=True)[1]])


def table_file(csv: str, folder: Path) -> Path:
    """Returns the path of the table in the folder of the images: data.csv, or styles.csv if that is empty.

    Raises:
        UserError: the folder or the table is missing.
    """
    check_folder(folder)
    path = stored_path(folder / os.path.expanduser(csv or "styles.csv"))
    if not os.path.isfile(path):
        default = "" if csv else " (the default)"
        raise UserError(f"There is no table {str(path)!r}{default}: set data.csv to the table's name in data.path.")
    return path


def check_folder(folder: Path) -> None:
    """Raises a UserError if data.path is not a folder."""
    if not os.path.isdir(folder):
        raise UserError(f"data.path is {str(folder)!r}, which is not a folder or a zip: name the one with the images.")


FOLDERS = ""  # name of the column of splits that folders define; no config can name it
