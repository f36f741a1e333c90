"""Walks all files in and below a folder, each once; training and prediction both use it."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from fashion_jax.data.decoding.decode import obstacle
from fashion_jax.data.strings import Strings

IMAGE_SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".gif",
    ".bmp",
    ".webp",
    ".tif",
    ".tiff",
    ".avif",
    ".heic",
    ".heif",
)

READ_ANYWAY = "a link to a folder that is read anyway"

OF_A_RUN = "made by a run of this program, and no data"

PASSED_OVER = (READ_ANYWAY, OF_A_RUN)  # reasons for skipping a folder that do not count as lost images

# Files and folders that operating systems leave beside images, in lower case.
_OF_SYSTEMS = {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"}

_MADE_IN_A_WORKDIR = {"checkpoints", "predictions", "report"}

_REPORT = {"index.html", "label_errors.csv"}  # names in a report page, which evaluate may write anywhere

# In a folder of predictions; readers of Parquet pass over names that begin with an underscore or a dot.
JOB, JOB_LOCK = "_job.json", "_lock"

_JOB_LOCKS = re.compile(rf"{JOB_LOCK}(-\d+-of-\d+)?")

_TELLING = {"checkpoints", "taxonomy.json", "data.json", "config.json", JOB} | _REPORT

_END = ("end", "", "")


class Found(NamedTuple):
    """A file, or an entry that stands for files that could not be read.

    Attributes:
        path: relative to the folder walked; "" is the folder itself.
        error: why it cannot be read; "" if no reason is known.
    """

    path: str
    error: str = ""


def walk(folder: str, apart: Collection[str] = ()) -> Iterator[Found]:
    """Yields the files in a folder and below it, ordered by name, without hidden files and files of operating systems.

    A subfolder that is the work directory or the report of a run, or that has its predictions, is yielded as one entry,
    without its content. A link to a file is a file. A link to a folder is followed once, and only to folders that are
    not above the folder walked, and that are not read anyway: in the folder walked (unless they are in a hidden one
    there), or in or above one that was already followed. So no folder is read twice, and cycles are not walked.

    Args:
        folder: the folder to walk.
        apart: names of folders directly in it, each of which is walked as if it were walked alone: its links may lead
            to folders beside it, and those of two such folders to the same one.
    """
    links = {name: _Links(os.path.join(folder, name)) for name in apart}
    others = _Links(folder)
    opened = [_entries(folder, "")]  # the folder that is being read, below those that it lies in
    while opened:
        kind, path, error = next(opened[-1], _END)
        top = path.partition(os.sep)[0]
        if kind == "end":
            opened.pop()
        elif kind == "link" and path not in links and not links.get(top, others).follow(os.path.join(folder, path)):
            yield Found(path, READ_ANYWAY)
        elif kind == "file" or error:
            yield Found(path, error)
        else:
            opened.append(_entries(folder, path))


def is_image(name: str) -> bool:
    """Whether a name has the suffix of an image format, in upper or lower case."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or one that operating systems leave beside images."""
    return name.startswith(".") or name.lower() in _OF_SYSTEMS


def printable_name(name: str) -> str:
    """Returns the name of a file as text, with escapes for bytes that are not UTF-8."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def lock_of_shard(number: int, total: int) -> str:
    """Returns the name of the lock of a shard of predictions; that of a whole job is JOB_LOCK."""
    return f"{JOB_LOCK}-{number}-of-{total}"


class _Links:
    """Keeps track of which links to folders lead to something new."""

    def __init__(self, folder: str):
        self._read: set[str] = set()
        self._above: set[str] = set()
        self._add(os.path.realpath(folder))

    def follow(self, link: str) -> bool:
        """Returns whether to follow a link, and remembers that it was followed."""
        target = os.path.realpath(link)
        if target in self._above or self._is_read(target):
            return False
        self._add(target)
        return True

    def _is_read(self, target: str) -> bool:
        """Returns whether a folder is one that is read, or below one with no hidden folder between them."""
        for folder in (target, *ancestors(target)):
            if folder in self._read:
                return True
            if is_hidden(os.path.basename(folder)):
                return False
        return False

    def _add(self, folder: str) -> None:
        self._read.add(folder)
        self._above.update(ancestors(folder))


def ancestors(path: str) -> Iterator[str]:
    """Yields the folders that a path lies in, the nearest one first."""
    while (parent := os.path.dirname(path)) != path:
        yield (path := parent)


def _entries(folder: str, path: str) -> Iterator[tuple[str, str, str]]:
    """Yields the entries of the folder at path as (kind: file, folder or link to a folder; path; error).

    Files are not opened. Of a folder with millions of files only the names are held.
    """
    told: set[str] = set()
    count = 0

    def names(scanned: Iterable[os.DirEntry[str]]) -> Iterator[str]:
        nonlocal count
        for entry in scanned:
            if not is_hidden(entry.name):
                count += 1
                kind = _kind(entry)
                is_lock = (entry.name == "lock" or _JOB_LOCKS.fullmatch(entry.name)) and kind == "file"
                if is_lock or entry.name in _TELLING:
                    told.add(entry.name)
                yield f"{entry.name}\0{kind}"  # a name has no NUL, which comes before all other characters

    try:
        with os.scandir(os.path.join(folder, path)) as scanned:
            entries = Strings.sort(names(scanned))
    except OSError as error:
        yield "file", path, f"the folder cannot be read ({error.strerror})"
        return
    is_workdir = _is_workdir(told, count)
    if path and (is_workdir or told >= _REPORT or _has_predictions(told, count)):
        yield "folder", path, OF_A_RUN
        return
    for entry in entries:
        name, _, kind = entry.partition("\0")
        place = os.path.join(path, name)
        if kind == "link":
            whole = os.path.join(folder, place)
            yield ("link", place, "") if os.path.isdir(whole) else ("file", place, _error_of(whole))
        elif kind == "folder":
            yield "folder", place, OF_A_RUN if name in _MADE_IN_A_WORKDIR and is_workdir else ""
        else:
            yield "file", place, "" if kind == "file" else obstacle(os.path.join(folder, place))


def _kind(entry: os.DirEntry[str]) -> str:
    """Returns file, folder, link, or other for a pipe and the like; asks the disk for none of them."""
    if entry.is_symlink():
        return "link"
    if entry.is_dir():
        return "folder"
    return "file" if entry.is_file() else "other"


def _error_of(link: str) -> str:
    """Says why a link to no folder cannot be read; "" if it leads to a file."""
    return "" if os.path.isfile(link) else obstacle(link)


def _is_workdir(told: set[str], count: int) -> bool:
    """Whether a folder is the work directory of a run, which has only its lock when it begins.

    Args:
        told: the names that it has of _TELLING, and of the locks of a run and a job.
        count: how many names it has.
    """
    has_run = "checkpoints" in told or {"taxonomy.json", "data.json"} <= told
    return (told == {"lock"} and count == 1) or ("config.json" in told and has_run)


def _has_predictions(told: set[str], count: int) -> bool:
    """Whether a folder has the parts of predictions, or only locks, as when it begins; its arguments are as above."""
    return JOB in told or (0 < count == len(told) and all(map(_JOB_LOCKS.fullmatch, told)))
