"""Images and what is said of them; and the csv source: a table of products, and the folder of their images."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from fashion_jax.data.columns import Columns, read_columns
from fashion_jax.data.image_names import ImageNames, pattern_columns
from fashion_jax.data.strings import Files, Strings
from fashion_jax.data.walk import printable_name
from fashion_jax.errors import UserError

Labels = tuple[str, ...]  # of an image, coarse to fine; "" where not known


class LabelPaths(Sequence[Labels]):
    """The labels of images, each distinct path of labels kept once.

    Attributes:
        distinct: the paths of labels.
        codes: int32 [images], which of them is an image's.
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

    def __getitem__(self, i):
        return self.distinct[self.codes[i]]


@dataclasses.dataclass(frozen=True)
class Table:
    """Images and what is said of them, image by image.

    Attributes:
        ids: what the user calls each image: the value of its row's id column; its name where there is none.
        files: absolute paths.
        paths: labels.
        rows: int [images], the number of each image's row: images of one row stay together.
        columns: further columns that the config names.
    """

    ids: Strings
    files: Files
    paths: LabelPaths
    rows: np.ndarray
    columns: dict[str, Strings]

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, images: Sequence[int] | np.ndarray) -> Table:
        """The table of some images (int [n]), in their order."""
        return Table(
            self.ids.select(images),
            self.files.select(images),
            self.paths.select(images),
            self.rows[np.asarray(images, np.int64)],
            {name: values.select(images) for name, values in self.columns.items()},
        )


def read_table(config: ConfigDict, folder: Path) -> Table:
    """Reads the table in folder that the config's data.* fields describe.

    Raises:
        UserError: the folder, the table or a column is missing, or the table cannot be read.
    """
    path = table_file(config, folder)
    patterns = image_patterns(config)
    extra = [name for name in (config.data.group_column, config.data.splits) if isinstance(name, str) and name]
    levels = list(config.data.levels.values())
    wanted = list(dict.fromkeys([*levels, *pattern_columns(patterns), *extra]))
    names = ImageNames(patterns, str(folder))
    parts, known, num_rows = [], {}, 0
    for columns in read_columns(path, wanted, optional=["id"]):
        parts.append(_part(columns, *names.of_rows(columns), levels, extra, known, num_rows))
        num_rows += len(columns[wanted[0]])
    ids, files, codes, rows, *values = zip(*parts, strict=True)
    return Table(
        ids=Strings.join(ids),
        files=Files(str(folder), Strings.join(files)),
        paths=LabelPaths(list(known), np.concatenate(codes)),
        rows=np.concatenate(rows),
        columns=dict(zip(extra, map(Strings.join, values), strict=True)),
    )


def image_patterns(config: ConfigDict) -> list[str]:
    """data.image, which is one pattern or several, as a list."""
    return [config.data.image] if isinstance(config.data.image, str) else list(config.data.image)


def _part(
    columns: Columns,
    names: list[str],
    rows: np.ndarray,
    levels: Sequence[str],
    extra: Sequence[str],
    known: dict[Labels, int],
    first_row: int,
) -> tuple[Strings | np.ndarray, ...]:
    """Of some rows' images: ids, names, codes of the labels (known grows), numbers of the rows, extra columns."""
    codes = [known.setdefault(path, len(known)) for path in zip(*map(columns.get, levels), strict=True)]
    ids = columns.get("id") or [printable_name(names[i]) for i in np.unique(rows, return_index=True)[1]]
    texts = [Strings(ids), *(Strings(columns[name]) for name in extra)]
    if len(names) > len(ids):
        texts = [values.select(rows) for values in texts]
    return texts[0], Strings(names), np.array(codes, np.int32)[rows], rows + first_row, *texts[1:]


def table_file(config: ConfigDict, folder: Path) -> Path:
    """The table in the folder of the images.

    Raises:
        UserError: the folder or the table is missing.
    """
    check_folder(folder)
    path = folder / (config.data.csv or "styles.csv")
    if not os.path.isfile(path):
        default = "" if config.data.csv else " (the default)"
        raise UserError(f"There is no table {str(path)!r}{default}: set data.csv to the table's name in data.path.")
    return path


def check_folder(folder: Path) -> None:
    """Raises UserError where data.path leads to no folder."""
    if not os.path.isdir(folder):
        raise UserError(f"data.path is {str(folder)!r}, which is not a folder or a zip: name the one with the images.")
