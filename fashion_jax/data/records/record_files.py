"""Random access to record files: ArrayRecord, TFRecord, and the IDX files of the MNIST family."""

from __future__ import annotations

import bisect
import errno
import gzip
import hashlib
import itertools
import math
import os
import re
import struct
import threading
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fashion_jax.data.outages import may_pass, outage, tried_again
from fashion_jax.data.records.open_files import raise_limit, too_many
from fashion_jax.errors import UserError

Shard = tuple[str, int]  # absolute path, number of records

_TFRECORD_HEADER = struct.Struct("<QI")  # length of the record, its checksum

_TFRECORD_FOOTER = 4  # bytes: the checksum of the record

_BLOCKS, _BLOCK = 16, 1 << 14  # blocks of a file read for its digest; bytes per block

_THREADS = 16  # files read at a time

# What ArrayRecord says of a call of the system that failed: its name, why, and the file.
_FAILED_CALL = re.compile(r"\w+\(\) failed: (?P<why>.+?); (?:opening|reading) (?P<file>.+?)(?:; at byte |$)", re.DOTALL)

_IDX_IMAGES, _IDX_LABELS = 0x803, 0x801  # magic numbers
_CHUNK = 1 << 20  # bytes that are decompressed at a time
_MAX_IDX = 800_000_000  # bytes of pixels; EMNIST, the largest of the family, has 550 million


class Records(Protocol):
    """Numbered records in files; sent to other processes as the names of the files.

    Attributes:
        shards: the files and their numbers of records.
    """

    shards: list[Shard]

    def __len__(self) -> int: ...

    def read(self, rows: Sequence[int] | np.ndarray) -> list[bytes]:
        """Returns the records at rows [n].

        Raises:
            OSError: a file cannot be opened or read.
            UserError: a file is damaged, or the limit of open files is too low for all.
        """


def read_patiently(records: Records, rows: Sequence[int] | np.ndarray, title: str) -> list[bytes]:
    """Returns the records at rows [n] of a set with a title; tries again for a while if their disk is away.

    Raises:
        Outage: their disk is still away.
        OSError: a file is missing or may not be read.
        UserError: see Records.
    """
    try:
        return tried_again(lambda: records.read(rows))
    except OSError as error:
        if may_pass(error):
            raise outage(f"The data of {title}", str(error)) from error
        raise


class ArrayRecords:
    """The records of ArrayRecord files, one file after the other."""

    def __init__(self, shards: Sequence[Shard]):
        self.shards = list(shards)
        self._source: Any = None

    def __len__(self) -> int:
        return sum(count for _, count in self.shards)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.shards,)

    def read(self, rows: Sequence[int] | np.ndarray) -> list[bytes]:
        if not len(rows):
            return []
        source = self._source = self._source or _array_record_source(self.shards)
        try:
            return source.__getitems__([int(row) for row in rows])
        except RuntimeError as error:
            if (reason := _failed_call(error)) is None:
                raise
            self._source = None  # it keeps the readers of files that it could not open, and would not try again
            raise too_many(reason, len(self.shards)) or reason from error


def _array_record_source(shards: Sequence[Shard]) -> Any:
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    raise_limit()
    return ArrayRecordDataSource([f"{path}[0:{count}]" for path, count in shards])


def _failed_call(error: RuntimeError) -> OSError | None:
    """Returns the error of the system that an error of ArrayRecord repeats; None if it has another reason."""
    if not (found := _FAILED_CALL.match(str(error))):
        return None
    number = next((number for number in errno.errorcode if os.strerror(number) == found["why"]), errno.EIO)
    return OSError(number, found["why"], found["file"])


class TfRecords:
    """The records of TFRecord files. They have no index, so opening a file scans the lengths of its records."""

    def __init__(self, shards: Sequence[Shard]):
        self.shards = list(shards)
        self._ends = list(itertools.accumulate(count for _, count in shards))
        self._opened: dict[int, tuple[int, np.ndarray]] = {}  # shard -> file descriptor, int64 [records, 2]
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.shards,)

    def __del__(self) -> None:
        for descriptor, _ in self._opened.values():
            os.close(descriptor)

    def read(self, rows: Sequence[int] | np.ndarray) -> list[bytes]:
        return [self._read(int(row)) for row in rows]

    def _read(self, row: int) -> bytes:
        shard = bisect.bisect_right(self._ends, row)
        with self._lock:
            if shard not in self._opened:
                self._opened[shard] = self._open(*self.shards[shard])
        descriptor, places = self._opened[shard]
        start, length = places[row - self._ends[shard] + self.shards[shard][1]]
        return os.pread(descriptor, length, start)

    def _open(self, path: str, count: int) -> tuple[int, np.ndarray]:
        """Returns the descriptor of the open file, and the start and length of each record, int64 [count, 2]."""
        raise_limit()
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            if told := too_many(error, len(self.shards)):
                raise told from error
            raise
        places, offset, size = np.empty((count, 2), np.int64), 0, os.fstat(descriptor).st_size
        for i in range(count):
            header = os.pread(descriptor, _TFRECORD_HEADER.size, offset)
            length = _TFRECORD_HEADER.unpack(header)[0] if len(header) == _TFRECORD_HEADER.size else size
            start = offset + _TFRECORD_HEADER.size
            offset = start + length + _TFRECORD_FOOTER
            if offset > size:
                os.close(descriptor)
                raise UserError(f"The file {path!r} ends after {i} of its {count} records: copy it anew.")
            places[i] = start, length
        return descriptor, places


class IdxImages:
    """The images of IDX files, one file after the other, in memory; a record is the pixels of an image."""

    def __init__(self, files: Sequence[str]):
        self._pixels = [read_idx(Path(file), _IDX_IMAGES) for file in files]
        self.shape = self._pixels[0].shape[1:]
        if any(pixels.shape[1:] != self.shape for pixels in self._pixels):
            raise UserError(f"The images of {', '.join(map(repr, files))} differ in size: put them into two folders.")
        self.counts = list(map(len, self._pixels))
        self._ends = list(itertools.accumulate(self.counts))
        self.shards = list(zip(files, self.counts, strict=True))

    def __len__(self) -> int:
        return self._ends[-1]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ([file for file, _ in self.shards],)

    def read(self, rows: Sequence[int] | np.ndarray) -> list[bytes]:
        return [self._pixels[k][row - self._ends[k]].tobytes() for row, k in self._places(rows)]

    def _places(self, rows: Sequence[int] | np.ndarray) -> list[tuple[int, int]]:
        return [(int(row), bisect.bisect_right(self._ends, row)) for row in rows]


def file_digests(files: Sequence[str]) -> np.ndarray:
    """Returns uint64 [files]: digests of each file's size and of blocks spread over it, but not of its name.

    Raises:
        UserError: a file cannot be read.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        return np.fromiter(pool.map(_file_digest, files), np.uint64, len(files))


def _file_digest(path: str) -> int:
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.blake2b(struct.pack("<Q", size), digest_size=8)
            for i in range(_BLOCKS):
                file.seek(max(size - _BLOCK, 0) * i // (_BLOCKS - 1))
                digest.update(file.read(_BLOCK))
    except OSError as error:
        raise UserError(f"The file {path!r} cannot be read ({error}): copy it anew.") from error
    return int.from_bytes(digest.digest(), "little")


def read_idx(path: Path, magic: int = _IDX_LABELS) -> np.ndarray:
    """Reads uint8 data in the shape that the header gives: labels [n], or images [n, height, width].

    Raises:
        UserError: the file cannot be read, or its magic number is another.
    """
    try:
        with path.open("rb") as file:
            is_packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if is_packed else path.open("rb") as file:
            found, *shape = struct.unpack(header := f">{1 + (magic & 0xFF)}I", file.read(struct.calcsize(header)))
            if found != magic:
                raise ValueError(f"its magic number is {found:#x}, not {magic:#x}")
            if (size := math.prod(shape)) > _MAX_IDX:
                raise ValueError(f"its header says {size:,} bytes, more than {_MAX_IDX:,}")
            pixels, filled = np.empty(size, np.uint8), 0
            while count := file.readinto(pixels[filled : filled + _CHUNK].data):
                filled += count
            if filled < size or file.read(1):
                raise ValueError("its header says another number of bytes")
        return pixels.reshape(shape)
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise UserError(f"The IDX file {str(path)!r} cannot be read ({error}): restore it.") from error
