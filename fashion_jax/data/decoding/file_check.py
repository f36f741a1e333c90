"""Every file is read and decoded once before it is trained on: which cannot be used and why, and what each holds.

A JPEG is decoded at an eighth of its size: all its compressed data is read, most of the work on pixels is not done.
What is found of good files is kept in the cache; bad ones are looked at again, so that one that was repaired, or a
reader that was installed, counts at once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from fashion_jax.data.decoding.checked_files import Known, read_known, write_known
from fashion_jax.data.decoding.decode import in_parallel, obstacle_in, read, to_rgb, unreadable
from fashion_jax.data.decoding.pillow import Undecodable
from fashion_jax.data.strings import Files

_CHUNK = 4096  # files

_THREADS = 16  # that ask for the status of files: on a file system of a network each takes its time


@dataclasses.dataclass(frozen=True)
class Checked:
    """What the check has found, by the index of the file.

    Attributes:
        reasons: index -> why the file cannot be used, in words; of the others there is none.
        digests: uint64 [files], of each file's content; 0 where it cannot be used.
    """

    reasons: dict[int, str]
    digests: np.ndarray


def check_files(files: Files, cache: Path) -> Checked:
    """Checks files, of which only those are read that are new or have changed since a check before.

    Args:
        files: what should be images; anything may stand there.
        cache: folder, below which it is kept what is known of files by their path, size and time of change.
    """
    status, reasons = _status(files)
    known = read_known(cache, files)
    digests = known.digests_of(files.names, status)
    unknown = np.setdiff1d(np.flatnonzero(digests == 0), np.fromiter(reasons, np.int64))
    if not len(unknown):
        return Checked(reasons, digests)
    progress = _Progress(len(unknown))
    try:
        for start in range(0, len(unknown), _CHUNK):
            chunk = unknown[start : start + _CHUNK]
            for i, found in zip(chunk.tolist(), in_parallel(_read, [files[i] for i in chunk]), strict=True):
                if isinstance(found, str):
                    reasons[i] = found
                else:
                    digests[i] = found
            progress.show(start + len(chunk))
    finally:
        progress.end()
        good = np.flatnonzero(digests)
        write_known(cache, files, known, Known(files.names.select(good), status[good], digests[good]))
    return Checked(reasons, digests)


def first_unusable(files: Sequence[str]) -> tuple[str, str] | None:
    """The first of files that cannot be used, and why, whatever a check has said before; None where there is none."""
    for start in range(0, len(files), _CHUNK):
        chunk = [files[i] for i in range(start, min(start + _CHUNK, len(files)))]
        for file, found in zip(chunk, in_parallel(_read, chunk), strict=True):
            if isinstance(found, str):
                return file, found
    return None


def _status(files: Files) -> tuple[np.ndarray, dict[int, str]]:
    """int64 [files, 2], sizes in bytes and times of change in ns; and index -> why a file is not to be read."""

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
    """The digest, not 0, of what a file holds; or, in words, why it cannot be used."""
    try:
        data = read(file)
        to_rgb(data, (1, 1))
    except Undecodable as error:
        return str(error)
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little") or 1


class _Progress:
    """A line on a terminal, of a check that takes more than a moment."""

    def __init__(self, total: int):
        self._total, self._began = total, time.monotonic()
        self._shown = False

    def show(self, done: int) -> None:
        if time.monotonic() - self._began > 2 and sys.stderr.isatty():
            self._shown = True
            print(f"\r\x1b[KChecking images: {done:,} of {self._total:,}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
