"""Reads and decodes every file once before training, to find files that cannot be used and digests of the others.

The check decodes JPEGs at 1/8 scale: it reads all compressed data but skips most of the work on pixels. Results for
good files are cached by path, size and modification time. Bad files are checked again, so that a repaired file or a
newly installed decoder counts at once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from fashion_jax.data.decoding.checked_files import Known, read_known, write_known
from fashion_jax.data.decoding.decode import contents, in_parallel, obstacle_in, to_rgb, unreadable
from fashion_jax.data.decoding.limits import Undecodable
from fashion_jax.data.strings import Files
from fashion_jax.terminal import doing

_CHUNK = 4096  # files

_THREADS = 16  # that stat files: on a network file system each call waits


@dataclasses.dataclass(frozen=True)
class Checked:
    """The result of the check, by index of the file.

    Attributes:
        reasons: index -> why the file cannot be used; only for files that cannot.
        digests: uint64 [files], of each file's content; 0 if the file cannot be used.
    """

    reasons: dict[int, str]
    digests: np.ndarray


def check_files(files: Files, cache: Path) -> Checked:
    """Checks files; reads only those that are new or have changed since an earlier check.

    Args:
        files: paths that should be images; anything may be there.
        cache: folder of the cache, where results are kept by path, size and modification time.
    """
    status, reasons = _status(files)
    known = read_known(cache, files)
    digests = known.digests_of(files.names, status)
    unknown = np.setdiff1d(np.flatnonzero(digests == 0), np.fromiter(reasons, np.int64))
    if not len(unknown):
        return Checked(reasons, digests)
    try:
        with doing("Checking images", len(unknown)) as task:
            for start in range(0, len(unknown), _CHUNK):
                chunk = unknown[start : start + _CHUNK]
                for i, found in zip(chunk.tolist(), in_parallel(_read, [files[i] for i in chunk]), strict=True):
                    if isinstance(found, str):
                        reasons[i] = found
                    else:
                        digests[i] = found
                task.reached(start + len(chunk))
    finally:
        good = np.flatnonzero(digests)
        write_known(cache, files, known, Known(files.names.select(good), status[good], digests[good]))
    return Checked(reasons, digests)


def first_unusable(files: Sequence[str]) -> tuple[str, str] | None:
    """Returns the first file that cannot be used and the reason, ignoring the cache; None if all can be used."""
    for start in range(0, len(files), _CHUNK):
        chunk = [files[i] for i in range(start, min(start + _CHUNK, len(files)))]
        for file, found in zip(chunk, in_parallel(_read, chunk), strict=True):
            if isinstance(found, str):
                return file, found
    return None


def _status(files: Files) -> tuple[np.ndarray, dict[int, str]]:
    """Returns the status of files, and index -> why a file must not be read.

    The status is int64 [files, 2]: size in bytes and modification time in ns.
    """

    def of_some(start: int) -> tuple[np.ndarray, dict[int, str]]:
        count = min(_CHUNK, len(files) - start)
        status, reasons = np.zeros((count, 2), np.int64), {}
        for i, file in enumerate(files[start : start + count]):
            try:
                found = os.stat(file)
            except (OSError, ValueError) as error:
                reasons[start + i] = unreadable(error) if isinstance(error, OSError) else "this is no name of a file"
                continue
            status[i] = found.st_size, found.st_mtime_ns
            if words := obstacle_in(found):
                reasons[start + i] = words
        return status, reasons

    with ThreadPoolExecutor(_THREADS) as pool:
        parts = list(pool.map(of_some, range(0, len(files), _CHUNK)))
    reasons = {i: words for _, some in parts for i, words in some.items()}
    return np.concatenate([status for status, _ in parts] or [np.zeros((0, 2), np.int64)]), reasons


def _read(file: str) -> int | str:
    """Returns a digest of the file's content, not 0, or the reason why the file cannot be used."""
    try:
        with contents(file) as data:
            to_rgb(data, (1, 1))
            return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little") or 1
    except Undecodable as error:
        return str(error)
