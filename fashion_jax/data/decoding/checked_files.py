"""The cache of the file check: a table of the good files of a folder, or one for each share of a divided check."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fashion_jax.atomic import replacing
from fashion_jax.data.strings import Files, Strings
from fashion_jax.devices.shares import Share
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


def known_digests(cache: Path, files: Files, status: np.ndarray) -> np.ndarray:
    """Returns uint64 [files]: digests of the files that the cache knows with their present status; 0 for others."""
    digests = np.zeros(len(files), np.uint64)
    for path in _tables(cache, files.folder) if len(files) else []:
        digests = np.where(digests, digests, _read(path).digests_of(files.names, status))
    return digests


def write_known(cache: Path, files: Files, now: Known, share: Share) -> str:
    """Writes the table of a share of a folder; returns why it could not, "" if it could.

    Args:
        cache: folder of the cache.
        files: all files that were checked, good or bad. What the table says of others stays there.
        now: the good ones.
        share: of the check; each has a table of its own, so that processes can write at the same time.
    """
    path = _path(cache, files.folder, share)
    before = _read(path)
    are_others = before.names.places(files.names) < 0 if len(before.names) else np.zeros(0, bool)
    others = np.flatnonzero(are_others)
    names = Strings.join([now.names, before.names.select(others)]).to_bytes()
    size, time = np.concatenate([now.status, before.status[others]]).T
    digests = np.concatenate([now.digests, before.digests[others]])
    table = pa.table({"name": names, "size": size, "time": time, "digest": digests}, metadata={b"version": _VERSION})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            pq.write_table(table, file)
    except OSError as error:
        return error.strerror or str(error)
    except (UserError, RunError) as error:
        return str(error).rstrip(".")
    return ""


def _read(path: Path) -> Known:
    """Reads a table; it is empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            table = pq.read_table(file)
        if (table.schema.metadata or {}).get(b"version") != _VERSION:
            raise ValueError("of another version")
        names, *numbers = (table[name].combine_chunks() for name in ("name", "size", "time", "digest"))
        size, time, digests = (column.to_numpy() for column in numbers)
        return Known(Strings.of_bytes(names.cast(pa.large_binary())), np.stack([size, time], axis=1), digests.copy())
    except (OSError, KeyError, ValueError, pa.ArrowException):
        return Known(Strings(), np.zeros((0, 2), np.int64), np.zeros(0, np.uint64))


def _tables(cache: Path, folder: str) -> list[Path]:
    """Returns the tables of a folder, that of the whole first."""
    path = _path(cache, folder, Share())
    return [path, *sorted(path.parent.glob(f"{path.stem}-*-of-*.parquet"))]


def _path(cache: Path, folder: str, share: Share) -> Path:
    digest = hashlib.sha256(os.fsencode(os.path.abspath(folder))).hexdigest()
    part = "" if share.is_whole else f"-{share.index}-of-{len(share.members)}"
    return cache / "checked" / f"{digest[:32]}{part}.parquet"
