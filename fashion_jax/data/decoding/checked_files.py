"""The cache of the file check: a table of good files per folder of images."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fashion_jax.atomic import replacing
from fashion_jax.data.strings import Files, Strings
from fashion_jax.errors import RunError, UserError

_VERSION = b"3"  # of the check; tables of another version are ignored


@dataclasses.dataclass(frozen=True)
class Known:
    """Files that were found to be good.

    Attributes:
        names: paths inside their folder.
        status: int64 [files, 2], size in bytes and modification time in ns.
        digests: uint64 [files], not 0, of the content.
    """

    names: Strings
    status: np.ndarray
    digests: np.ndarray

    def digests_of(self, names: Strings, status: np.ndarray) -> np.ndarray:
        """Returns uint64 [names]: digests of the files that are known and have not changed; 0 for others."""
        if not len(self.names):
            return np.zeros(len(names), np.uint64)
        places = names.places(self.names)
        same = (places >= 0) & (self.status[places] == status).all(axis=1)
        return np.where(same, self.digests[places], np.uint64(0))


def read_known(cache: Path, files: Files) -> Known:
    """Reads the known files of a folder from the cache; none if the table cannot be read."""
    try:
        with _path(cache, files.folder).open("rb") as file:
            table = pq.read_table(file)
        if (table.schema.metadata or {}).get(b"version") != _VERSION:
            raise ValueError("of another version")
        names, *numbers = (table[name].combine_chunks() for name in ("name", "size", "time", "digest"))
        size, time, digests = (column.to_numpy() for column in numbers)
        return Known(Strings.of_bytes(names.cast(pa.large_binary())), np.stack([size, time], axis=1), digests.copy())
    except (OSError, KeyError, ValueError, pa.ArrowException):
        return Known(Strings(), np.zeros((0, 2), np.int64), np.zeros(0, np.uint64))


def write_known(cache: Path, files: Files, before: Known, now: Known) -> None:
    """Writes the files that are known now, and earlier ones that were not checked; does nothing if it cannot write."""
    are_others = before.names.places(files.names) < 0 if len(before.names) else np.zeros(0, bool)
    others = np.flatnonzero(are_others)
    names = Strings.join([now.names, before.names.select(others)]).to_bytes()
    size, time = np.concatenate([now.status, before.status[others]]).T
    digests = np.concatenate([now.digests, before.digests[others]])
    table = pa.table({"name": names, "size": size, "time": time, "digest": digests}, metadata={b"version": _VERSION})
    path = _path(cache, files.folder)
    with contextlib.suppress(OSError, UserError, RunError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            pq.write_table(table, file)


def _path(cache: Path, folder: str) -> Path:
    digest = hashlib.sha256(os.fsencode(os.path.abspath(folder))).hexdigest()
    return cache / "checked" / f"{digest[:32]}.parquet"
