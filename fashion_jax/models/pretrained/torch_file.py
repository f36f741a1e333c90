"""Reads the state dicts that torch.save writes, without PyTorch and without executing anything.

Since PyTorch 1.6 such a file is a zip archive: NAME/data.pkl is a pickle in which each tensor refers to one of the
files NAME/data/KEY, the plain values of its storage. Before, it was five pickles one after the other: a number by which
the format is known, a version, the sizes of types, the tensors, and the keys of their storages. The values of each
storage follow, in the order of the keys, behind their number. torchvision still distributes VGG-16 in this format.
"""

from __future__ import annotations

import contextlib
import math
import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from fashion_jax.errors import first_line
from fashion_jax.models.pretrained.tensors import Tensor, Unsuitable
from fashion_jax.models.pretrained.torch_pickle import Storage, View, build

_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before PyTorch 1.6 begins with this number
# What zipfile and the interpreter raise for bytes that are not what they should be.
_DAMAGES = (
    zipfile.BadZipFile,
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    struct.error,
)
_LEGACY_VERSION = 1001
_MAX_PICKLE = 1 << 24  # bytes; that of a ResNet-152 has 0.1 million
_MAX_WORD = 16  # bytes of the file that names the order of bytes
_NESTED = ("state_dict", "model_state_dict", "model")  # the usual entries of a dict that holds more than a state dict


class _Values(NamedTuple):
    """The values of a storage in a file: their size in bytes, and a function that reads them."""

    size: int
    read: Callable[[], bytes]


class _Contents(NamedTuple):
    """What is in a file.

    Attributes:
        tree: dicts, lists and tuples of tensors.
        values: by the key of a storage.
        is_big: whether the most significant byte of a value comes first.
    """

    tree: Any
    values: dict[str, _Values]
    is_big: bool


def read_torch(path: Path) -> dict[str, Tensor]:
    """Reads names and shapes of the tensors of a state dict.

    A state dict may be the file itself, or the entry "state_dict", "model_state_dict" or "model" of a dict.

    Raises:
        Unsuitable: the file is damaged, or names a function that is not allowed.
    """
    with _reading():
        with path.open("rb") as file:
            is_legacy = file.read(len(_LEGACY)) == _LEGACY
        contents = _legacy_contents(path) if is_legacy else _archive_contents(path)
        views = _state_dict(contents.tree)
        for name, view in views.items():
            _check_bounds(name, view)
            _check_size(view.storage, contents.values[view.storage.key].size)
    return {
        name: Tensor(view.shape, partial(_load, contents.values[view.storage.key], view, contents.is_big))
        for name, view in views.items()
    }


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Raises Unsuitable for what damaged bytes raise in its block."""
    try:
        yield
    except _DAMAGES as error:
        raise Unsuitable(
            f"which cannot be read as a state dict of PyTorch ({first_line(error)}): download it again, or save "
            "model.state_dict() by torch.save."
        ) from error


def _archive_contents(path: Path) -> _Contents:
    with zipfile.ZipFile(path) as archive:
        root = _root(archive)
        tree = build(_content(archive, f"{root}/data.pkl", _MAX_PICKLE)).tree
        order, data = f"{root}/byteorder", f"{root}/data/"
        is_big = order in archive.namelist() and _content(archive, order, _MAX_WORD) == b"big"
        sizes = {name: _stored(archive, name).file_size for name in archive.namelist() if name.startswith(data)}
    values = {name[len(data) :]: _Values(size, partial(_values, path, name)) for name, size in sizes.items()}
    return _Contents(tree, values, is_big)


def _root(archive: zipfile.ZipFile) -> str:
    """Returns the folder in the archive that holds data.pkl."""
    for name in archive.namelist():
        root, _, last = name.partition("/")
        if last == "data.pkl":
            return root
    raise ValueError("it is an archive without data.pkl")


def _content(archive: zipfile.ZipFile, name: str, most: float = math.inf) -> bytes:
    """Reads a file of the archive."""
    return archive.read(_stored(archive, name, most))


def _stored(archive: zipfile.ZipFile, name: str, most: float = math.inf) -> zipfile.ZipInfo:
    """Returns the entry of a file; PyTorch compresses none, so that none is larger than the archive."""
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > most:
        raise ValueError(f"{name} is compressed or too large")
    return info


def _values(path: Path, name: str) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return _content(archive, name)


def _legacy_contents(path: Path) -> _Contents:
    with path.open("rb") as file:
        _, version, system, built, keys = (build(file) for _ in range(5))
        if version.tree != _LEGACY_VERSION:
            raise ValueError("it is of another version of the format before PyTorch 1.6")
        is_big = not system.tree["little_endian"]
        values = {key: _next_values(file, path, built.storages[key], is_big) for key in keys.tree}
    return _Contents(built.tree, values, is_big)


def _next_values(file: IO[bytes], path: Path, storage: Storage, is_big: bool) -> _Values:
    """Passes over the values of a storage, which stand behind their number."""
    number = int.from_bytes(file.read(8), "big" if is_big else "little")
    start, size = file.tell(), number * _itemsize(storage)
    if file.seek(0, os.SEEK_END) < start + size:
        raise EOFError(f"it ends before the values of storage {storage.key}")
    file.seek(start + size)
    return _Values(size, partial(_part, path, start, size))


def _part(path: Path, start: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(size)


def _load(values: _Values, view: View, is_big: bool) -> np.ndarray:
    import ml_dtypes  # noqa: F401 - makes numpy know the type bfloat16

    with _reading():
        content = values.read()
        _check_size(view.storage, len(content))
    numbers = np.frombuffer(content, view.storage.dtype)
    numbers = numbers.byteswap() if is_big else numbers
    # An axis of one value has any stride; the bounds of all others are checked in read_torch.
    strides = [stride * numbers.itemsize if n > 1 else 0 for n, stride in zip(view.shape, view.strides, strict=True)]
    return np.lib.stride_tricks.as_strided(numbers[view.offset :], view.shape, strides, writeable=False)


def _check_bounds(name: str, view: View) -> None:
    numbers = (view.offset, *view.shape, *view.strides)
    good = all(type(x) is int and x >= 0 for x in numbers) and len(view.shape) == len(view.strides)
    last = view.offset + sum((n - 1) * stride for n, stride in zip(view.shape, view.strides, strict=False))
    is_empty = 0 in view.shape
    if not good or (last >= view.storage.size and not is_empty):
        raise ValueError(f"{name} reaches beyond its storage")


def _check_size(storage: Storage, size: int) -> None:
    if size != storage.size * _itemsize(storage):
        raise ValueError(f"storage {storage.key} has {size} bytes instead of {storage.size * _itemsize(storage)}")


def _itemsize(storage: Storage) -> int:
    return 2 if storage.dtype == "bfloat16" else np.dtype(storage.dtype).itemsize


def _state_dict(tree: Any) -> dict[str, View]:
    for name in _NESTED:
        if isinstance(tree, dict) and isinstance(tree.get(name), dict):
            tree = tree[name]
    found = tree if isinstance(tree, dict) else {}
    views = {name: x for name, x in found.items() if isinstance(name, str) and isinstance(x, View)}
    if not views:
        raise ValueError("it holds no tensors by name")
    return views
