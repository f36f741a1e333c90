"""Writes state dicts as torch.save does, without PyTorch: an archive of a pickle and the values of the storages."""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

TYPES = {"float32": "Float", "float64": "Double", "float16": "Half", "bfloat16": "BFloat16", "int64": "Long"}
EMPTY = b"ccollections\nOrderedDict\n)R"  # the program of OrderedDict()


class View(NamedTuple):
    """A tensor that is a view of some values, offset and strides in values."""

    values: np.ndarray
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def write_torch(path: Path, tensors: Mapping[str, np.ndarray | View], *, within: str = "") -> Path:
    """Writes a state dict; if `within` is given, as that entry of a dict."""
    storages: dict[str, bytes] = {}
    entries = b"".join(_constant(name) + _tensor(x, storages) for name, x in tensors.items())
    program = EMPTY + b"(" + entries + b"u"
    if within:
        program = b"}(" + _constant("epoch") + _constant(3) + _constant(within) + program + b"u"
    return write_program(path, program, storages)


def write_program(path: Path, program: bytes, storages: Mapping[str, bytes] | None = None) -> Path:
    """Writes an archive whose pickle is a program without its first and last instruction."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + program + b".")
        archive.writestr("archive/byteorder", "little")
        for key, content in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", content)
    return path


def _tensor(x: np.ndarray | View, storages: dict[str, bytes]) -> bytes:
    """Returns the program of a tensor, and adds its storage."""
    if isinstance(x, np.ndarray):
        values = np.ascontiguousarray(x)
        x = View(values.ravel(), 0, values.shape, tuple(s // values.itemsize for s in values.strides))
    key = str(len(storages))
    storages[key] = x.values.tobytes()
    name = f"ctorch\n{TYPES[x.values.dtype.name]}Storage\n".encode()
    storage = b"(" + _constant("storage") + name + _constant(key) + _constant("cpu") + _constant(x.values.size) + b"tQ"
    view = _constant(x.offset) + _constant(x.shape) + _constant(x.strides) + _constant(False) + EMPTY
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + view + b"tR"


def _constant(value: object) -> bytes:
    return pickle.dumps(value, 2)[2:-1]
