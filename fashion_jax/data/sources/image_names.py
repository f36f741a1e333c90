"""Finds the images of a table's rows by the patterns of data.image."""

from __future__ import annotations

import bisect
import functools
import itertools
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fashion_jax.config.image_patterns import Value, parse_pattern
from fashion_jax.data.sources.columns import Columns
from fashion_jax.data.sources.walk import is_hidden, is_image
from fashion_jax.data.stored_names import StoredNames, listed_names
from fashion_jax.errors import UserError
from fashion_jax.letters import composed


def pattern_columns(patterns: Sequence[str]) -> list[str]:
    """Returns the columns that patterns such as images/{id}.jpg use."""
    return list(dict.fromkeys(value.column for pattern in patterns for value in _values(pattern)))


def _values(pattern: str) -> list[Value]:
    return [piece for piece in parse_pattern(pattern) if isinstance(piece, Value)]


_FEW = 16  # names that are looked at one by one


class ImageNames:
    """Names of images, relative to a folder, by the patterns of data.image, in which * matches anything."""

    def __init__(self, patterns: Sequence[str], folder: str, unit: str = "line"):
        """Takes the patterns, the folder, and what the numbers of rows count, for messages."""
        self._fields = list(dict.fromkeys(value for pattern in patterns for value in _values(pattern)))
        self._patterns = [self._compiled(pattern) for pattern in patterns]
        self._folder = folder
        self._stored = StoredNames(folder)
        self._listed: dict[str, _Listed] = {}
        self._backslashed: dict[str, set[str]] = {}  # folder -> names in it that have a backslash
        self._unit = unit
        self._owner: dict[str, tuple[tuple[str, ...], int]] = {}  # name -> values and number of its first row
        self._guesses = any("*" in pattern for pattern in patterns)  # such a pattern could match another row's image

    def of_rows(self, columns: Columns, numbers: Sequence[int] | np.ndarray) -> tuple[list[str], np.ndarray]:
        """Returns the images of rows, whether they exist or not: names, and int [names], the row of each.

        Names are spelt as on disk, where accents may be decomposed and Windows' backslashes are slashes. No row has a
        name twice. A pattern with a * that matches no file is returned as a name itself. A pattern gives a row no name
        if all cells that it uses are empty.

        Raises:
            UserError: an image matches the patterns of two rows.
        """
        values = [
            columns[field.column] if field == Value(field.column) else list(map(field.of, columns[field.column]))
            for field in self._fields
        ]
        if len(self._patterns) == 1 and not self._guesses and _all_filled(values):
            names = list(map(self._patterns[0].pieces[0].format, *values))
            if not all(map(str.isascii, names)) or any("\\" in name for name in names):
                names = list(map(self._on_disk, names))
            return names, np.arange(len(names))
        by_row = list(zip(*values, strict=True))
        rows = [self._of_row(row) for row in by_row]
        if self._guesses:
            for number, row, found in zip(np.asarray(numbers).tolist(), by_row, rows, strict=True):
                self._check_owner(row, number, found)
        return list(itertools.chain.from_iterable(rows)), np.repeat(np.arange(len(rows)), list(map(len, rows)))

    def _compiled(self, pattern: str) -> _Compiled:
        parsed = parse_pattern(pattern)
        used = [self._fields.index(piece) for piece in parsed if isinstance(piece, Value)]
        texts = [
            f"{{{self._fields.index(piece)}}}"
            if isinstance(piece, Value)
            else piece.replace("\\", "/").replace("{", "{{").replace("}", "}}")
            for piece in parsed
        ]
        return _Compiled("".join(texts).split("*"), used)

    def _on_disk(self, name: str) -> str:
        """Returns a name as spelt on disk; backslashes are slashes unless a file is called so."""
        if "\\" in name and not self._has_backslashes(name):
            name = name.replace("\\", "/")
        return self._stored.find(name)

    def _has_backslashes(self, name: str) -> bool:
        """Whether a file is called so, with the backslashes; its folders are listed first, each once for all rows."""
        folder = ""
        for part in name.split("/"):
            if "\\" in part and part not in self._backslashed_in(folder):
                return False
            folder += part + "/"
        return os.path.lexists(os.path.join(self._folder, name))

    def _backslashed_in(self, folder: str) -> set[str]:
        if folder not in self._backslashed:
            names = listed_names(os.path.join(self._folder, folder))
            self._backslashed[folder] = {name for name in names if "\\" in name}
        return self._backslashed[folder]

    def _of_row(self, values: Sequence[str]) -> list[str]:
        names: dict[str, None] = {}
        for pattern in self._patterns:
            if not any(values[i] for i in pattern.used):
                continue
            literal = [piece.format(*values) for piece in pattern.pieces]
            found = self._fitting(literal) if len(literal) > 1 else []
            names.update(dict.fromkeys(found or [self._on_disk("*".join(literal))]))
        return list(names)

    def _fitting(self, pieces: Sequence[str]) -> list[str]:
        """Returns the images whose name is the pieces with anything between them, sorted by name."""
        folder, slash, start = pieces[0].replace("\\", "/").rpartition("/")
        folder = self._stored.find(folder)
        images = self._images_in(folder)
        wanted = [start, *pieces[1:]]
        fitting = (i for i in images.candidates(start, wanted[-1]) if _fits(images.names[i], wanted))
        return [folder + slash + images.stored[i] for i in fitting]

    def _images_in(self, folder: str) -> _Listed:
        if folder not in self._listed:
            names = [x for x in listed_names(os.path.join(self._folder, folder)) if is_image(x) and not is_hidden(x)]
            self._listed[folder] = _Listed(names)
        return self._listed[folder]

    def _check_owner(self, values: tuple[str, ...], number: int, names: Sequence[str]) -> None:
        for name in names:
            first, its_number = self._owner.setdefault(name, (values, number))
            if first != values:
                raise UserError(
                    f"The image {name!r} fits data.image for {self._unit}s {its_number} and {number}: "
                    "write patterns that tell them apart, such as images/{id}_*.jpg."
                )


class _Listed:
    """The images in a folder.

    Attributes:
        names: composed and sorted.
        stored: the same names as spelt on disk.
    """

    def __init__(self, names: Sequence[str]):
        pairs = sorted((composed(name), name) for name in names)
        self.names, self.stored = [name for name, _ in pairs], [name for _, name in pairs]

    def candidates(self, start: str, end: str) -> Sequence[int]:
        """Returns the places of the names with this start, or of those with this end if they are fewer, ascending."""
        starting = _having(self.names, start)
        if len(starting) <= _FEW or not end:
            return starting
        reversed_names, places = self._reversed
        ending = _having(reversed_names, end[::-1])
        return sorted(places[ending.start : ending.stop]) if len(ending) < len(starting) else starting

    @functools.cached_property
    def _reversed(self) -> tuple[list[str], list[int]]:
        """The names from their last letter to the first, sorted, and the place of each in `names`."""
        pairs = sorted((name[::-1], i) for i, name in enumerate(self.names))
        return [name for name, _ in pairs], [i for _, i in pairs]


def _having(names: list[str], start: str) -> range:
    """Returns the range of the names, which are sorted, that have a start."""
    first = bisect.bisect_left(names, start)
    return range(first, bisect.bisect_right(names, start, first, key=lambda name: name[: len(start)]))


class _Compiled(NamedTuple):
    """A pattern, as texts for str.format between its stars, and the indices of the values that it uses."""

    pieces: list[str]
    used: list[int]


def _all_filled(values: Sequence[Sequence[str]]) -> bool:
    """Whether no row has only empty values."""
    return all(values[0]) if len(values) == 1 else all(map(any, zip(*values, strict=True)))


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
