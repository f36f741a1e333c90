"""Sequences of texts that take little more memory than their letters: a million names are not a million objects."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_CHUNK = 1 << 16


class Strings(Sequence[str]):
    """Texts, by index. File names that are no UTF-8 come back as os.fsdecode has them."""

    def __init__(self, texts: Iterable[str] = ()):
        texts = list(texts)
        try:
            self._bytes = pa.array(texts, pa.large_string()).view(pa.large_binary())
        except UnicodeEncodeError:
            self._bytes = pa.array([text.encode("utf-8", "surrogateescape") for text in texts], pa.large_binary())

    @classmethod
    def join(cls, parts: Sequence[Strings]) -> Strings:
        """The texts of all parts, one after the other."""
        return cls._of(pa.concat_arrays([part._bytes for part in parts])) if parts else cls()

    @classmethod
    def _of(cls, array: pa.LargeBinaryArray) -> Strings:
        strings = cls.__new__(cls)
        strings._bytes = array
        return strings

    @classmethod
    def of_bytes(cls, texts: pa.LargeBinaryArray) -> Strings:
        """Texts that are encoded already, as to_bytes has them."""
        return cls._of(texts)

    def to_bytes(self) -> pa.LargeBinaryArray:
        """The texts encoded, as names of files are."""
        return self._bytes

    def select(self, rows: Sequence[int] | np.ndarray) -> Strings:
        """The texts at rows (int [n]), in their order."""
        return self._of(self._bytes.take(pa.array(np.asarray(rows, np.int64))))

    def codes(self) -> np.ndarray:
        """int32 [n]: equal texts have equal codes, which count up in the order of the first of each."""
        return self._bytes.dictionary_encode().indices.to_numpy(zero_copy_only=False)

    def places(self, among: Strings) -> np.ndarray:
        """int64 [n]: where each text stands first in another sequence, -1 where it does not."""
        return pc.index_in(self._bytes, among._bytes).fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)

    @property
    def nbytes(self) -> int:
        return self._bytes.nbytes

    def __len__(self) -> int:
        return len(self._bytes)

    def __getitem__(self, index):
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
    """Absolute paths of files, of which only the part inside of their folder is kept."""

    def __init__(self, folder: str, names: Strings):
        self.folder, self.names = folder, names

    def select(self, rows: Sequence[int] | np.ndarray) -> Files:
        """The paths at rows (int [n]), in their order."""
        return Files(self.folder, self.names.select(rows))

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return Files(self.folder, self.names[index])
        return os.path.join(self.folder, self.names[index])

    def __iter__(self) -> Iterator[str]:
        return (os.path.join(self.folder, name) for name in self.names)


def digest_of_ids(ids: Sequence[str]) -> str:
    """Of the ids in their order, in hexadecimal."""
    return hashlib.sha256("\0".join(ids).encode("utf-8", "surrogateescape")).hexdigest()
