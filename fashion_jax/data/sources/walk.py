"""Walks all files in and below a folder, each once; training and prediction both use it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from fashion_jax.data.decoding.decode import obstacle

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


class Found(NamedTuple):
    """A file, or an entry that stands for files that could not be read.

    Attributes:
        path: relative to the folder walked; "" is the folder itself.
        error: why it cannot be read; "" if no reason is known.
    """

    path: str
    error: str = ""


def walk(folder: str) -> Iterator[Found]:
    """Yields the files in a folder and below it, ordered by name, without hidden files and files of operating systems.

    A subfolder that is the work directory or the report of a run is yielded as one entry, without its content. A link
    to a file is a file. A link to a folder is followed once, and only to folders that are neither in the folder walked,
    nor above it, nor in or above one that was already followed. So no folder is read twice, and cycles are not walked.
    """
    links = _Links(folder)
    pending = list(_entries(folder, ""))[::-1]
    while pending:
        kind, path, error = pending.pop()
        if kind == "link" and not links.follow(os.path.join(folder, path)):
            yield Found(path, READ_ANYWAY)
        elif kind == "file" or error:
            yield Found(path, error)
        else:
            pending += list(_entries(folder, path))[::-1]


def is_image(name: str) -> bool:
    """Whether a name has the suffix of an image format, in upper or lower case."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or one that operating systems leave beside images."""
    return name.startswith(".") or name.lower() in _OF_SYSTEMS


def printable_name(name: str) -> str:
    """Returns the name of a file as text, with escapes for bytes that are not UTF-8."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


class _Links:
    """Keeps track of which links to folders lead to something new."""

    def __init__(self, folder: str):
        self._read: set[str] = set()
        self._above: set[str] = set()
        self._add(os.path.realpath(folder))

    def follow(self, link: str) -> bool:
        """Returns whether to follow a link, and remembers that it was followed."""
        target = os.path.realpath(link)
        if target in self._above or not self._read.isdisjoint((target, *_ancestors(target))):
            return False
        self._add(target)
        return True

    def _add(self, folder: str) -> None:
        self._read.add(folder)
        self._above.update(_ancestors(folder))


def _ancestors(path: str) -> Iterator[str]:
    while (parent := os.path.dirname(path)) != path:
        yield (path := parent)


def _entries(folder: str, path: str) -> Iterator[tuple[str, str, str]]:
    """Yields the entries of the folder at path as (kind: file, folder or link to a folder; path; error).

    Files are not opened.
    """
    try:
        with os.scandir(os.path.join(folder, path)) as scanned:
            entries = sorted((entry for entry in scanned if not is_hidden(entry.name)), key=lambda entry: entry.name)
    except OSError as error:
        yield "file", path, f"the folder cannot be read ({error.strerror})"
        return
    names = {entry.name for entry in entries}
    if path and (_is_workdir(names) or _is_report(names)):
        yield "folder", path, OF_A_RUN
        return
    for entry in entries:
        place = os.path.join(path, entry.name)
        if entry.is_symlink():
            is_folder = os.path.isdir(entry.path)
            yield ("link", place, "") if is_folder else ("file", place, "" if _is_file(entry) else obstacle(entry.path))
        elif entry.is_dir():
            yield "folder", place, OF_A_RUN if entry.name in _MADE_IN_A_WORKDIR and _is_workdir(names) else ""
        else:
            yield "file", place, "" if _is_file(entry) else obstacle(entry.path)


def _is_workdir(names: set[str]) -> bool:
    """Whether a folder with these names is the work directory of a run, which has only its lock when it begins."""
    has_run = "checkpoints" in names or {"taxonomy.json", "data.json"} <= names
    return names == {"lock"} or ("config.json" in names and has_run)


def _is_report(names: set[str]) -> bool:
    """Whether a folder with these names is a report page, which evaluate may write anywhere."""
    return {"index.html", "label_errors.csv"} <= names


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link that cannot be followed
        return False
