"""Finds the images of a table's rows by the patterns of data.image."""

from __future__ import annotations

import bisect
import itertools
import os
import string
from collections.abc import Sequence

import numpy as np

from fashion_jax.data.sources.columns import Columns
from fashion_jax.data.sources.stored_names import StoredNames, listed_names
from fashion_jax.data.sources.walk import is_hidden, is_image
from fashion_jax.errors import UserError
from fashion_jax.letters import composed


def pattern_columns(patterns: Sequence[str]) -> list[str]:
    """Returns the columns that patterns such as images/{id}.jpg use."""
    parsed = (part for pattern in patterns for part in string.Formatter().parse(pattern))
    return list(dict.fromkeys(name for _, name, _, _ in parsed if name))


class ImageNames:
    """Names of images, relative to a folder, by patterns in which {COLUMN} is a row's value and * matches anything."""

    def __init__(self, patterns: Sequence[str], folder: str):
        self._fields = pattern_columns(patterns)
        self._patterns = [[self._by_place(piece) for piece in pattern.split("*")] for pattern in patterns]
        self._folder = folder
        self._stored = StoredNames(folder)
        self._listed: dict[str, tuple[list[str], list[str]]] = {}
        self._owner: dict[str, str] = {}  # name -> id of its row
        self._guesses = any("*" in pattern for pattern in patterns)  # such a pattern could match another row's image

    def of_rows(self, columns: Columns) -> tuple[list[str], np.ndarray]:
        """Returns the images of rows, whether they exist or not: names, and int [names], the row of each.

        Names are spelt as on disk, where accents may be decomposed. No row has a name twice. A pattern with a * that
        matches no file is returned as a name itself.

        Raises:
            UserError: an image matches the patterns of two rows.
        """
        values = [columns[field] for field in self._fields]
        if len(self._patterns) == 1 and not self._guesses:
            names = list(map(self._patterns[0][0].format, *values))
            if not all(map(str.isascii, names)):
                names = list(map(self._stored.find, names))
            return names, np.arange(len(names))
        rows = [self._of_row(row) for row in zip(*values, strict=True)]
        if self._guesses:
            for row_id, row in zip(columns.get("id") or [row[0] for row in rows], rows, strict=True):
                self._check_owner(row_id, row)
        return list(itertools.chain.from_iterable(rows)), np.repeat(np.arange(len(rows)), list(map(len, rows)))

    def _by_place(self, text: str) -> str:
        """Replaces each column in the text by its index: {id} becomes {0}."""
        parts = string.Formatter().parse(text)
        return "".join(
            literal.replace("{", "{{").replace("}", "}}") + (f"{{{self._fields.index(name)}}}" if name else "")
            for literal, name, _, _ in parts
        )

    def _of_row(self, values: Sequence[str]) -> list[str]:
        names: dict[str, None] = {}
        for pieces in self._patterns:
            literal = [piece.format(*values) for piece in pieces]
            found = self._fitting(literal) if len(literal) > 1 else []
            names.update(dict.fromkeys(found or [self._stored.find("*".join(literal))]))
        return list(names)

    def _fitting(self, pieces: Sequence[str]) -> list[str]:
        """Returns the images whose name is the pieces with anything between them, sorted by name."""
        folder, slash, start = pieces[0].rpartition("/")
        folder = self._stored.find(folder)
        listed, stored = self._images_in(folder)
        found = []
        for i in range(bisect.bisect_left(listed, start), len(listed)):
            if not listed[i].startswith(start):
                break
            if _fits(listed[i], [start, *pieces[1:]]):
                found.append(folder + slash + stored[i])
        return found

    def _images_in(self, folder: str) -> tuple[list[str], list[str]]:
        """Returns the names of the images in a folder, composed and sorted, and the same names as spelt on disk."""
        if folder not in self._listed:
            names = [x for x in listed_names(os.path.join(self._folder, folder)) if is_image(x) and not is_hidden(x)]
            pairs = sorted((composed(name), name) for name in names)
            self._listed[folder] = [name for name, _ in pairs], [name for _, name in pairs]
        return self._listed[folder]

    def _check_owner(self, row_id: str, names: Sequence[str]) -> None:
        for name in names:
            if self._owner.setdefault(name, row_id) != row_id:
                raise UserError(
                    f"The image {name!r} fits data.image for the rows {self._owner[name]!r} and {row_id!r}: "
                    "write patterns that tell them apart, such as images/{id}_*.jpg."
                )


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
