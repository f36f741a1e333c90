"""Finds the images that a user names: files, folders, patterns, zips, tables of paths, and paths on standard input."""

from __future__ import annotations

import contextlib
import glob
import io
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from fashion_jax.data.decoding.pillow import kind_of
from fashion_jax.data.sources.archive import extracted_whole
from fashion_jax.data.sources.columns import SUFFIXES, Columns, is_parquet, read_columns, text_columns
from fashion_jax.data.sources.walk import PASSED_OVER, ancestors, is_image, walk
from fashion_jax.data.stored_names import StoredNames
from fashion_jax.data.strings import Strings
from fashion_jax.devices.host import cache_root
from fashion_jax.errors import UserError
from fashion_jax.letters import composed

STDIN = "-"  # stands for paths on standard input

_TRIED = 100  # values of a column that are tried as paths
_BLOCK = 1 << 16  # bytes of a list that are read at once
_MARK = b"\xef\xbb\xbf"  # which Windows writes at the beginning of UTF-8


class Input(NamedTuple):
    """A future row of predictions: the user's name of the image, its file, and an error that is already known or ""."""

    name: str
    file: str
    error: str = ""


class Inputs:
    """The images that paths name, in the order of the paths and then by name, each time it is iterated.

    However many they are, none is held in memory but the bare names of the folder that is being read.
    """

    def __init__(self, paths: Sequence[str], cache_dir: str, column: str = "", listed: io.BufferedIOBase | None = None):
        """Takes what the user has named.

        Args:
            paths: files, folders with all below them, patterns such as photos/*.jpg, zips, tables, or STDIN.
            cache_dir: the cache of the config, in which zips are extracted; "" for the default.
            column: the column of tables that holds paths; "" for the only one that does.
            listed: the paths that STDIN stands for, each followed by a line break, or by a NUL if it holds any.

        Raises:
            UserError: STDIN is named twice, or a column is named without a table.
        """
        self._paths, self._cache_dir, self._column, self._listed = paths, cache_dir, composed(column), listed
        self._extracted: dict[str, str] = {}  # archive -> its folder in the cache
        self._stored = StoredNames("")
        if paths.count(STDIN) > 1:
            raise UserError(f"--input names standard input ({STDIN}) twice, which can be read once: leave one out.")
        if column and not any(_is_table(file) for _, file in self._named()):
            raise UserError(
                f"--column is {column!r}, but --input names no table: name a file that ends in {', '.join(SUFFIXES)}, "
                "or leave --column out."
            )

    def __iter__(self) -> Iterator[Input]:
        """Yields every image, whatever it is: one that cannot be read has an error.

        Raises:
            UserError: a table cannot be read, or its column of paths is not found.
        """
        for name, file in self._named():
            if name == STDIN:
                yield from self._of_list()
            elif os.path.isdir(file):
                yield from _inside(name, file)
            elif _is_zip(file):
                yield from self._zipped(name, file)
            elif _is_table(file):
                yield from self._tabled(name, file)
            else:
                yield Input(name, file)

    def count(self) -> int:
        """Counts the images, for which it finds them all."""
        return sum(1 for _ in self)

    @property
    def is_read_once(self) -> bool:
        """Whether they come from a pipe, so that they can be iterated once and not be counted before."""
        return STDIN in self._paths and self._listed is not None and not self._listed.seekable()

    @property
    def any_exists(self) -> bool:
        """Whether any of the paths exists; quick, so that a misspelled path can be told at once."""
        return any(name == STDIN or os.path.lexists(file) for name, file in self._named())

    def _named(self) -> Iterator[tuple[str, str]]:
        """Yields the user's names of the paths, of which patterns are replaced by what fits them, and their files."""
        for path in self._paths:
            file = self._stored.find(path)
            if path == STDIN or os.path.lexists(file) or not glob.has_magic(file):
                yield path, file
                continue
            found = Strings.sort(glob.iglob(file, recursive=True))
            if "**" in file:
                found = _once(found)
            yield from zip(found, found, strict=True) if found else [(path, file)]

    def _of_list(self) -> Iterator[Input]:
        if self._listed is None:
            return
        if self._listed.seekable():
            self._listed.seek(0)
        for name in _listed_paths(self._listed):
            yield Input(name, self._stored.find(name))

    def _zipped(self, name: str, archive: str) -> Iterator[Input]:
        if archive not in self._extracted:  # its directory takes a kilobyte of memory for each file
            try:
                self._extracted[archive] = str(extracted_whole(Path(archive), cache_root(self._cache_dir)))
            except UserError as error:
                yield Input(name, archive, str(error))
                return
        yield from _inside(name, self._extracted[archive])

    def _tabled(self, name: str, file: str) -> Iterator[Input]:
        """Yields the images of a table's rows, which are relative to its folder."""
        column = self._column or _column_of_paths(Path(file))
        unit = "row" if is_parquet(Path(file)) else "line"
        for part in read_columns(Path(file), {column: "--column"}, ()):
            ragged = {row.line for row in part.ragged}
            for path, number in zip(part.columns[column], part.numbers.tolist(), strict=True):
                if not path or "\0" in path:
                    error = f"there is no path in the column {column!r}" if not path else "the path holds a NUL"
                    yield Input(f"{name}, {unit} {number}", "", error)
                    continue
                found = self._in_folder(os.path.dirname(file), path)
                is_wrong = number in ragged and not os.path.isfile(found)
                error = f"{unit} {number} of {name} has not as many cells as its header" if is_wrong else ""
                yield Input(os.path.join(os.path.dirname(name), path), found, error)

    def _in_folder(self, folder: str, path: str) -> str:
        """Returns the file that a cell names, as spelt on disk; backslashes are slashes unless a file is called so."""
        file = os.path.join(folder, path)
        if "\\" in path and not os.path.lexists(file):
            file = os.path.join(folder, path.replace("\\", "/"))
        return file if file.isascii() or os.path.lexists(file) else self._stored.find(file)


def _once(found: Strings) -> Strings:
    """Returns the paths that a pattern with ** finds, without those that a folder found has in it, and without repeats.

    Such a pattern finds a folder beside all that is in it, and follows links around a cycle up to 40 times: of the
    paths of a file the one with the fewest folders is kept.
    """
    folders = {path.rstrip(os.sep) for path in found if os.path.isdir(path)}
    places: dict[str, str] = {}  # folder without links -> its shortest name
    for place in dict.fromkeys(os.path.dirname(path.rstrip(os.sep)) for path in found):
        real = os.path.realpath(place)
        places[real] = min(places.get(real, place), place, key=lambda x: (x.count(os.sep), x))
    shortest = set(places.values())

    def is_kept(path: str) -> bool:
        place = os.path.dirname(path.rstrip(os.sep))
        leads_back = path in folders and os.path.islink(path) and _leads_back(path)
        return place in shortest and not leads_back and folders.isdisjoint((place, *ancestors(place)))

    return Strings(path for path in found if is_kept(path))


def _leads_back(link: str) -> bool:
    """Returns whether a link leads to a folder that it lies in."""
    place = os.path.realpath(os.path.dirname(link))
    return os.path.realpath(link) in (place, *ancestors(place))


def _inside(name: str, folder: str) -> Iterator[Input]:
    """Yields the files in a folder and its subfolders."""
    for path, error in walk(folder):
        if error not in PASSED_OVER:
            yield Input(os.path.join(name, path) if path else name, os.path.join(folder, path), error)


def _is_zip(file: str) -> bool:
    return os.path.splitext(file)[1].lower() == ".zip" and os.path.isfile(file)


def _is_table(file: str) -> bool:
    """Whether a file lists images: by its name, unless its content is a photo's."""
    if os.path.splitext(file)[1].lower() not in SUFFIXES or not os.path.isfile(file):
        return False
    with contextlib.suppress(OSError), open(file, "rb") as opened:
        return kind_of(opened.read(16)) in ("", "BMP")  # the first column may be called BM...
    return True


def _column_of_paths(table: Path) -> str:
    """Returns the column of a table that holds paths: by the files that there are, else by their suffixes.

    Raises:
        UserError: there is none, or several.
    """
    names = text_columns(table)
    if any(map(is_image, names)):
        raise UserError(f"The table {str(table)!r} begins with a path: let its first line name the columns, as image.")
    columns: Columns = next(read_columns(table, {}, names)).columns
    tried = {name: list(itertools.islice(filter(None, columns[name]), _TRIED)) for name in names}
    exist = [name for name in names if any(_is_file(table.parent, path) for path in tried[name])]
    found = exist or [name for name in names if any(map(is_image, tried[name]))]
    if len(found) == 1:
        return found[0]
    has = f"holds paths of images in the columns {', '.join(found)}" if found else "has no column of paths of images"
    way_out = "name one with --column" if found else f"name it with --column; there are {', '.join(names) or 'none'}"
    raise UserError(f"The table {str(table)!r} {has}: {way_out}.")


def _is_file(folder: Path, path: str) -> bool:
    return "\0" not in path and os.path.isfile(os.path.join(folder, path.replace("\\", "/")))


def _listed_paths(file: io.BufferedIOBase) -> Iterator[str]:
    """Yields the paths of a list, in which they are separated by NULs if there are any, else by line breaks."""
    block = b""
    while not (b"\0" in block or b"\n" in block) and (more := file.read1(_BLOCK)):
        block += more
    separator, block = (b"\0" if b"\0" in block else b"\n"), block.removeprefix(_MARK)
    rest = b""
    while block:
        *paths, rest = (rest + block).split(separator)
        yield from filter(None, (_path(path, separator) for path in paths))
        block = file.read1(_BLOCK)  # what there is by now, since a program may still be writing it
    if path := _path(rest, separator):
        yield path


def _path(line: bytes, separator: bytes) -> str:
    return os.fsdecode(line if separator == b"\0" else line.removesuffix(b"\r"))
