"""Reads and decodes every file once before training, to find files that cannot be used and digests of the others.

The check decodes JPEGs at 1/8 scale: it reads all compressed data but skips most of the work on pixels. Results for
good files are cached by path, size and modification time. Bad files are checked again, so that a repaired file or a
newly installed decoder counts at once. The processes of a run that see the same files divide them among themselves.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from fashion_jax.data.decoding.checked_files import Known, known_digests, write_known
from fashion_jax.data.decoding.decode import contents, in_parallel, obstacle_in, to_rgb, why_unreadable
from fashion_jax.data.decoding.limits import Undecodable
from fashion_jax.data.strings import Files, digest_of_ids
from fashion_jax.devices.shares import Share, share_of
from fashion_jax.terminal import doing, say

_CHUNK = 4096  # files whose status is asked together
_READ_TOGETHER = 1024  # files
_KEEP_SECONDS = 60.0  # between two savings of what the check has found: it may take hours, and be stopped at any time

_THREADS = 16  # that stat files: on a network file system each call waits

_LARGEST = 2**63 - 1  # of int64; numbers of files have no sign

_COMPARED = 64  # files whose status tells whether processes see the same files, or copies of them


@dataclasses.dataclass(frozen=True)
class Checked:
    """The result of the check, by index of the file.

    Attributes:
        reasons: index -> why the file cannot be used; only for files that cannot.
        digests: uint64 [files], of each file's content; 0 if the file cannot be used.
    """

    reasons: dict[int, str]
    digests: np.ndarray


def check_files(files: Files, cache: Path, *, is_divided: bool = False) -> Checked:
    """Checks files; reads only those that are new or have changed since an earlier check.

    Args:
        files: paths that should be images; anything may be there.
        cache: folder of the cache, where results are kept by path, size and modification time.
        is_divided: whether all processes of the run call this at the same time. Each then checks a share of the files,
            and gets the results of all: of those processes that see the same files, by their names and by the sizes and
            modification times of some. Others, with copies on a disk of their own, check these.
    """
    if not is_divided:
        return _check(files, cache, Share())
    share = share_of("files", _identity(files), len(files))
    own = _check(files if share.is_whole else files.select(share.of(len(files))), cache, share)
    results = [own.reasons.get(i) or digest for i, digest in enumerate(own.digests.tolist())]
    everything = own if share.is_whole else Checked({}, np.zeros(len(files), np.uint64))
    for places, found in share.gather("checked files", results):
        for i, result in zip(places.tolist(), found, strict=True):
            if isinstance(result, str):
                everything.reasons[i] = result
            else:
                everything.digests[i] = result
    return everything


def _identity(files: Files) -> str:
    """Returns a digest of the names of all files, and of the status of some, with their numbers in the file system.

    Copies may have the same names, sizes and times, but not the same numbers. A file system that numbers a file
    differently on each machine makes every process check all files.
    """
    some = np.unique(np.linspace(0, max(len(files) - 1, 0), min(_COMPARED, len(files))).astype(int))
    status, _ = _status(files.select(some))
    return digest_of_ids([digest_of_ids(files.names), *map(str, status.ravel().tolist())])


def _check(files: Files, cache: Path, share: Share) -> Checked:
    """Checks files, which are those of a share."""
    status, reasons = _status(files)
    status = status[:, :2]  # what the cache knows; a file may have another number on each machine
    digests = known_digests(cache, files, status)
    unknown = np.setdiff1d(np.flatnonzero(digests == 0), np.fromiter(reasons, np.int64))
    if not len(unknown):
        return Checked(reasons, digests)
    began = kept = time.monotonic()
    obstacle = ""

    def keep() -> str:
        good = np.flatnonzero(digests)
        return write_known(cache, files, Known(files.names.select(good), status[good], digests[good]), share)

    try:
        with doing("Checking images", len(unknown)) as task:
            for start in range(0, len(unknown), _READ_TOGETHER):
                chunk = unknown[start : start + _READ_TOGETHER]
                for i, found in zip(chunk.tolist(), in_parallel(_read, [files[i] for i in chunk]), strict=True):
                    if isinstance(found, str):
                        reasons[i] = found
                    else:
                        digests[i] = found
                task.reached(start + len(chunk))
                if time.monotonic() - kept > _KEEP_SECONDS:
                    obstacle = keep()
                    kept = time.monotonic()
    finally:
        obstacle = keep()
    if obstacle and time.monotonic() - began > _KEEP_SECONDS:
        say(
            f"Warning: the check of {len(unknown):,} files could not be kept in {str(cache)!r} ({obstacle}), so that "
            "each start checks them again: set data.cache_dir to a folder that can be written."
        )
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

    The status is int64 [files, 3]: size in bytes, modification time in ns and number in the file system.
    """

    def of_some(start: int) -> tuple[np.ndarray, dict[int, str]]:
        count = min(_CHUNK, len(files) - start)
        status, reasons = np.zeros((count, 3), np.int64), {}
        for i, file in enumerate(files[start : start + count]):
            try:
                found = os.stat(file)
            except (OSError, ValueError) as error:
                reasons[start + i] = (
                    why_unreadable(error) if isinstance(error, OSError) else "this is no name of a file"
                )
                continue
            status[i] = found.st_size, found.st_mtime_ns, found.st_ino & _LARGEST
            if words := obstacle_in(found):
                reasons[start + i] = words
        return status, reasons

    with ThreadPoolExecutor(_THREADS) as pool:
        parts = list(pool.map(of_some, range(0, len(files), _CHUNK)))
    reasons = {i: words for _, some in parts for i, words in some.items()}
    return np.concatenate([status for status, _ in parts] or [np.zeros((0, 3), np.int64)]), reasons


def _read(file: str) -> int | str:
    """Returns a digest of the file's content, not 0, or the reason why the file cannot be used."""
    try:
        with contents(file) as data:
            to_rgb(data, (1, 1))
            return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little") or 1
    except Undecodable as error:
        return str(error)
