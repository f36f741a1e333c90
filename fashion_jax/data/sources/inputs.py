"""Finds the images that a user names on a command line: files, folders and zips."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from fashion_jax.config.loading import cache_root
from fashion_jax.data.sources.archive import extracted_whole
from fashion_jax.data.sources.stored_names import StoredNames
from fashion_jax.data.sources.walk import PASSED_OVER, walk
from fashion_jax.errors import UserError


class Input(NamedTuple):
    """A future row of predictions: the user's name of the image, its file, and an error that is already known or ""."""

    name: str
    file: str
    error: str = ""


def find_inputs(paths: Sequence[str], cache_dir: str) -> Iterator[Input]:
    """Yields every file that the paths name, also in folders and zips, in the order of the paths and then by name."""
    stored = StoredNames("")
    for path in paths:
        file = stored.find(path)
        if os.path.isdir(file):
            yield from _inside(path, file)
        elif os.path.splitext(file)[1].lower() == ".zip" and os.path.isfile(file):
            yield from _zipped(path, file, cache_dir)
        else:
            yield Input(path, file)


def _inside(name: str, folder: str) -> Iterator[Input]:
    """Yields the files in a folder and its subfolders."""
    for path, error in walk(folder):
        if error not in PASSED_OVER:
            yield Input(os.path.join(name, path) if path else name, os.path.join(folder, path), error)


def _zipped(name: str, file: str, cache_dir: str) -> Iterator[Input]:
    try:
        folder = extracted_whole(Path(file), cache_root(cache_dir))
    except UserError as error:
        yield Input(name, file, str(error))
        return
    yield from _inside(name, str(folder))
