"""Writes state dicts as torch.save does, and as it did before PyTorch 1.6, without PyTorch."""

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
    program, storages = _state_dict(tensors, _Format())
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


def write_legacy(path: Path, tensors: Mapping[str, np.ndarray | View], function: str = "_rebuild_tensor_v2") -> Path:
    """Writes a state dict in the format before PyTorch 1.6; before 0.4 the function was _rebuild_tensor."""
    program, storages = _state_dict(tensors, _Format(function, part=(None,)))
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    with path.open("wb") as file:
        for value in (0x1950A86A20F9469CFC6C, 1001, system):
            pickle.dump(value, file, 2)
        file.write(b"\x80\x02" + program + b".")
        pickle.dump(sorted(storages), file, 2)
        for key in sorted(storages):
            size = next(x.itemsize for x in map(_values, tensors.values()) if x.tobytes() == storages[key])
            file.write((len(storages[key]) // size).to_bytes(8, "little") + storages[key])
    return path


class _Format(NamedTuple):
    """How the format writes a tensor: the function that makes it, and what ends the reference to its storage."""

    function: str = "_rebuild_tensor_v2"
    part: tuple[None, ...] = ()


def _state_dict(tensors: Mapping[str, np.ndarray | View], form: _Format) -> tuple[bytes, dict[str, bytes]]:
    """Returns the program of a state dict, and its storages."""
    storages: dict[str, bytes] = {}
    entries = b"".join(_constant(name) + _tensor(x, storages, form) for name, x in tensors.items())
    return EMPTY + b"(" + entries + b"u", storages


def _values(x: np.ndarray | View) -> np.ndarray:
    return x.values if isinstance(x, View) else x


def _tensor(x: np.ndarray | View, storages: dict[str, bytes], form: _Format) -> bytes:
    """Returns the program of a tensor, and adds its storage."""
    if isinstance(x, np.ndarray):
        values = np.ascontiguousarray(x)
        x = View(values.ravel(), 0, values.shape, tuple(s // values.itemsize for s in values.strides))
    key = str(len(storages))
    storages[key] = x.values.tobytes()
    name = f"ctorch\n{TYPES[x.values.dtype.name]}Storage\n".encode()
    storage = b"(" + _constant("storage") + name + _constant(key) + _constant("cpu") + _constant(x.values.size)
    storage += b"".join(map(_constant, form.part)) + b"tQ"
    view = _constant(x.offset) + _constant(x.shape) + _constant(x.strides)
    if form.function == "_rebuild_tensor_v2":
        view += _constant(False) + EMPTY
    return f"ctorch._utils\n{form.function}\n(".encode() + storage + view + b"tR"


def _constant(value: object) -> bytes:
    return pickle.dumps(value, 2)[2:-1]
