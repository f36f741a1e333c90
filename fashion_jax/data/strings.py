"""Sequences of strings that take little more memory than their characters, for datasets of millions of names."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import SupportsIndex, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_CHUNK = 1 << 16


class Strings(Sequence[str]):
    """An immutable sequence of strings. File names that are not UTF-8 are returned as os.fsdecode returns them."""

    def __init__(self, texts: Iterable[str] = ()):
        texts = list(texts)
        try:
            self._bytes = pa.array(texts, pa.large_string()).view(pa.large_binary())
        except UnicodeEncodeError:
            self._bytes = pa.array([text.encode("utf-8", "surrogateescape") for text in texts], pa.large_binary())

    @classmethod
    def join(cls, parts: Sequence[Strings]) -> Strings:
        """Concatenates sequences."""
        return cls._of(pa.concat_arrays([part._bytes for part in parts])) if parts else cls()

    @classmethod
    def _of(cls, array: pa.LargeBinaryArray) -> Strings:
        strings = cls.__new__(cls)
        strings._bytes = array
        return strings

    @classmethod
    def sort(cls, texts: Iterable[str]) -> Strings:
        """Returns the texts in the order of their code points; never holds them as a list."""
        texts = iter(texts)
        joined = cls.join([cls(part) for part in iter(lambda: list(itertools.islice(texts, _CHUNK)), [])])
        return joined.select(pc.array_sort_indices(joined._bytes).to_numpy())

    @classmethod
    def of_bytes(cls, texts: pa.LargeBinaryArray) -> Strings:
        """Makes a sequence from encoded strings, as to_bytes returns them."""
        return cls._of(texts)

    def to_bytes(self) -> pa.LargeBinaryArray:
        """Returns the strings encoded as file names are."""
        return self._bytes

    def select(self, rows: Sequence[int] | np.ndarray) -> Strings:
        """Returns the strings at rows (int [n]), in the order of the rows."""
        return self._of(self._bytes.take(pa.array(np.asarray(rows, np.int64))))

    def codes(self) -> np.ndarray:
        """Returns int32 [n]: equal strings have equal codes, numbered in the order of first occurrence."""
        return self._bytes.dictionary_encode().indices.to_numpy(zero_copy_only=False)

    def places(self, among: Strings) -> np.ndarray:
        """Returns int64 [n]: the first index of each string in another sequence, -1 if it is not there."""
        return pc.index_in(self._bytes, among._bytes).fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)

    @property
    def nbytes(self) -> int:
        return self._bytes.nbytes

    def __len__(self) -> int:
        return len(self._bytes)

    @overload
    def __getitem__(self, index: SupportsIndex) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Strings: ...

    def __getitem__(self, index: SupportsIndex | slice) -> str | Strings:
        if isinstance(index, slice):
            return self._of(self._bytes[index])
        return self._bytes[int(index)].as_py().decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        for part in self._parts():
            for text in part:
                yield text.decode("utf-8", "surrogateescape")

    def _parts(self) -> Iterator[list[bytes]]:
        return (self._bytes[start : start + _CHUNK].to_pylist() for start in range(0, len(self), _CHUNK))


class Files(Sequence[str]):
    """Absolute paths of files in one folder; only the part below the folder is stored."""

    def __init__(self, folder: str, names: Strings):
        self.folder, self.names = folder, names

    def select(self, rows: Sequence[int] | np.ndarray) -> Files:
        """Returns the paths at rows (int [n]), in the order of the rows."""
        return Files(self.folder, self.names.select(rows))

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: SupportsIndex) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Files: ...

    def __getitem__(self, index: SupportsIndex | slice) -> str | Files:
        if isinstance(index, slice):
            return Files(self.folder, self.names[index])
        return os.path.join(self.folder, self.names[index])

    def __iter__(self) -> Iterator[str]:
        return (os.path.join(self.folder, name) for name in self.names)


def digest_of_ids(ids: Sequence[str]) -> str:
    """Returns a SHA-256 digest of the ids in their order, in hexadecimal."""
    return hashlib.sha256("\0".join(ids).encode("utf-8", "surrogateescape")).hexdigest()
