"""The csv source: a table with a row per image, and the folder of the images."""

from __future__ import annotations

import csv
import dataclasses
import os
import string
from pathlib import Path

from ml_collections import ConfigDict

from fashion_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Table:
    """Images and what is said of them, row by row.

    Attributes:
        ids: the id column; the image's path relative to the folder where the table has none.
        files: absolute paths of the images.
        paths: labels, coarse to fine; "" where not known.
        columns: further columns that the config names.
    """

    ids: list[str]
    files: list[str]
    paths: list[tuple[str, ...]]
    columns: dict[str, list[str]]

    def select(self, rows: list[int]) -> Table:
        return Table(
            [self.ids[i] for i in rows],
            [self.files[i] for i in rows],
            [self.paths[i] for i in rows],
            {name: [values[i] for i in rows] for name, values in self.columns.items()},
        )


def read_table(config: ConfigDict, folder: Path) -> Table:
    """Reads the table in folder that the config's data.* fields describe.

    Raises:
        UserError: the folder, the table or a column is missing, or the table cannot be read.
    """
    path = table_file(config, folder)
    levels = config.data.levels
    fields = [name for _, name, _, _ in string.Formatter().parse(config.data.image) if name]
    extra = [name for name in (config.data.group_column, config.data.splits) if isinstance(name, str) and name]
    wanted = list(dict.fromkeys([*levels.values(), *fields, *extra]))
    columns = _read_columns(path, wanted, optional=["id"])
    rows = range(len(columns[wanted[0]]))
    names = [config.data.image.format(**{f: columns[f][i] for f in fields}) for i in rows]
    return Table(
        ids=columns.get("id", names),
        files=[os.path.join(folder, name) for name in names],
        paths=[tuple(columns[c][i] for c in levels.values()) for i in rows],
        columns={name: columns[name] for name in extra},
    )


def table_file(config: ConfigDict, folder: Path) -> Path:
    """The table in the folder of the images.

    Raises:
        UserError: the folder or the table is missing.
    """
    if not os.path.isdir(folder):
        raise UserError(f"data.path is {str(folder)!r}, which is not a folder or a zip: name the one with the images.")
    path = folder / (config.data.csv or "styles.csv")
    if not os.path.isfile(path):
        default = "" if config.data.csv else " (the default)"
        raise UserError(f"There is no table {str(path)!r}{default}: set data.csv to the table's name in data.path.")
    return path


def _read_columns(path: Path, wanted: list[str], optional: list[str]) -> dict[str, list[str]]:
    """Column -> its values without the blanks around them; "" where a row has fewer cells than the header."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)  # else an open quote swallows all further rows
            header = [name.strip() for name in next(reader, [])]
            if missing := [name for name in wanted if name not in header]:
                hint = "; separate its columns by commas" if len(header) == 1 else ""
                raise UserError(
                    f"The table {str(path)!r} has no column {missing[0]!r}; "
                    f"it has: {', '.join(header) or 'none'}{hint}."
                )
            names = [*wanted, *(name for name in optional if name in header and name not in wanted)]
            places = [header.index(name) for name in names]
            cells = [[row[i].strip() if i < len(row) else "" for i in places] for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"The table {str(path)!r} cannot be read ({error}): save it as CSV in UTF-8.") from error
    if not cells:
        raise UserError(f"The table {str(path)!r} has no rows: data.csv must have a row per image.")
    return dict(zip(names, map(list, zip(*cells, strict=True)), strict=True))
