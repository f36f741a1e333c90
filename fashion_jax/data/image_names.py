"""The images of a table's rows: what the patterns of data.image make of each row."""

from __future__ import annotations

import bisect
import os
import string
from collections.abc import Sequence

from fashion_jax.data.columns import Columns
from fashion_jax.data.walk import is_hidden, is_image
from fashion_jax.errors import UserError


def pattern_columns(patterns: Sequence[str]) -> list[str]:
    """The columns that patterns such as images/{id}.jpg take."""
    parsed = (part for pattern in patterns for part in string.Formatter().parse(pattern))
    return list(dict.fromkeys(name for _, name, _, _ in parsed if name))


class ImageNames:
    """Names of images, relative to a folder, by patterns in which {COLUMN} is a row's value and * anything."""

    def __init__(self, patterns: Sequence[str], folder: str):
        self._patterns = [pattern.split("*") for pattern in patterns]
        self._fields = pattern_columns(patterns)
        self._folder = folder
        self._listed: dict[str, list[str]] = {}
        self._owner: dict[str, str] = {}  # name -> id of its row, where a * could take another row's image
        self.per_row = len(patterns) == 1 and "*" not in patterns[0]
        self._guessing = any("*" in pattern for pattern in patterns)

    def of_rows(self, columns: Columns) -> list[list[str]]:
        """The names of each row's images, each once, whether they are there or not.

        A pattern with a * that no file fits stands for itself.

        Raises:
            UserError: an image fits the patterns of two rows.
        """
        values = [
            dict(zip(self._fields, row, strict=True)) for row in zip(*map(columns.get, self._fields), strict=True)
        ]
        if self.per_row:
            pattern = self._patterns[0][0]
            return [[pattern.format_map(row)] for row in values]
        names = [self._of_row(row) for row in values]
        if self._guessing:
            ids = columns.get("id") or [row[0] for row in names]
            for row_id, row in zip(ids, names, strict=True):
                self._check_owner(row_id, row)
        return names

    def _of_row(self, values: dict[str, str]) -> list[str]:
        names: dict[str, None] = {}
        for pieces in self._patterns:
            literal = [piece.format_map(values) for piece in pieces]
            found = self._fitting(literal) if len(literal) > 1 else literal
            names.update(dict.fromkeys(found or ["*".join(literal)]))
        return list(names)

    def _fitting(self, pieces: Sequence[str]) -> list[str]:
        """The images whose name is the pieces with anything between them, by name."""
        folder, slash, start = pieces[0].rpartition("/")
        listed = self._images_in(folder)
        found = []
        for name in listed[bisect.bisect_left(listed, start) :]:
            if not name.startswith(start):
                break
            if _fits(name, [start, *pieces[1:]]):
                found.append(folder + slash + name)
        return found

    def _images_in(self, folder: str) -> list[str]:
        if folder not in self._listed:
            names = listed_names(os.path.join(self._folder, folder))
            self._listed[folder] = sorted(name for name in names if is_image(name) and not is_hidden(name))
        return self._listed[folder]

    def _check_owner(self, row_id: str, names: Sequence[str]) -> None:
        for name in names:
            if self._owner.setdefault(name, row_id) != row_id:
                raise UserError(
                    f"The image {name!r} fits data.image for the rows {self._owner[name]!r} and {row_id!r}: "
                    "write patterns that tell them apart, such as images/{id}_*.jpg."
                )


def listed_names(folder: str) -> list[str]:
    """The names in a folder; none where it is not there or cannot be read."""
    try:
        return os.listdir(folder)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return []


def _fits(name: str, pieces: Sequence[str]) -> bool:
    """Whether the name is the pieces, in order, with anything between them."""
    first, *middle, last = pieces
    place, end = len(first), len(name) - len(last)
    for piece in middle:
        place = name.find(piece, place, end)
        if place < 0:
            return False
        place += len(piece)
    return name.startswith(first) and name.endswith(last) and place <= end
