"""Reads the state dicts that torch.save writes, without PyTorch and without executing anything.

Such a file is a zip archive: NAME/data.pkl is a pickle in which each tensor refers to one of the files NAME/data/KEY,
the plain values of its storage. A pickle is a program. The interpreter here builds dicts, lists and tuples, and knows
only the few functions that a state dict needs; it calls no function that a file names.
"""

from __future__ import annotations

import contextlib
import math
import pickletools
import struct
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fashion_jax.errors import first_line
from fashion_jax.models.pretrained.tensors import Tensor, Unsuitable

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
_MAX_PICKLE = 1 << 24  # bytes; that of a ResNet-152 has 0.1 million
_DTYPES = {  # torch.TYPEStorage -> numpy's name of the type
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
}
_STORAGES = {f"torch.{name}Storage": dtype for name, dtype in _DTYPES.items()}
_DICT, _TENSOR = "collections.OrderedDict", "torch._utils._rebuild_tensor_v2"
_PARAMETER = "torch._utils._rebuild_parameter"
_SIZE = "torch.Size"
# What a pickle may name: functions, types of storages, and types of numbers.
_NAMES = {_DICT, _TENSOR, _PARAMETER, _SIZE, *_STORAGES} | {f"torch.{dtype}" for dtype in _DTYPES.values()}


class _Name(NamedTuple):
    """A function or a type that a pickle names; it is compared, and never looked up."""

    name: str


class _Storage(NamedTuple):
    """The values that tensors share.

    Attributes:
        key: of its file in the archive.
        dtype: numpy's name of the type.
        size: number of values.
    """

    key: str
    dtype: str
    size: int


class _View(NamedTuple):
    """A tensor: values of a storage, `offset` and `strides` in values."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_torch(path: Path) -> dict[str, Tensor]:
    """Reads names and shapes of the tensors of a state dict.

    A state dict may be the file itself, or the entry "state_dict" or "model" of a dict. The prefix "module." of a model
    trained in parallel is left out.

    Raises:
        Unsuitable: the file is damaged, of the format before PyTorch 1.6, or names a function that is not allowed.
    """
    with _opened(path) as archive:
        root = _root(archive)
        tree = _build(_content(archive, f"{root}/data.pkl", _MAX_PICKLE))
        views = _state_dict(tree)
        for name, view in views.items():
            _check_bounds(name, view)
            _check_storage(archive, f"{root}/data/{view.storage.key}", view.storage)
        big = f"{root}/byteorder" in archive.namelist() and archive.read(f"{root}/byteorder") == b"big"
    return {
        name: Tensor(view.shape, partial(_load, path, f"{root}/data/{view.storage.key}", view, big))
        for name, view in views.items()
    }


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with path.open("rb") as file:
            if file.read(len(_LEGACY)) == _LEGACY:
                raise Unsuitable(
                    'which torch.save wrote in the format before PyTorch 1.6: save it again, by python -c "import '
                    f"torch; torch.save(torch.load('{path}', weights_only=True), '{path.stem}_new.pth')\"."
                )
        with zipfile.ZipFile(path) as archive:
            yield archive
    except _DAMAGES as error:
        raise Unsuitable(
            f"which cannot be read as a state dict of PyTorch ({first_line(error)}): download it again, or save "
            "model.state_dict() by torch.save."
        ) from error


def _root(archive: zipfile.ZipFile) -> str:
    """Returns the folder in the archive that holds data.pkl."""
    for name in archive.namelist():
        root, _, last = name.partition("/")
        if last == "data.pkl":
            return root
    raise ValueError("it is an archive without data.pkl")


def _content(archive: zipfile.ZipFile, name: str, most: float = math.inf) -> bytes:
    """Reads a file of the archive; PyTorch compresses none, so that none is larger than the archive."""
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > most:
        raise ValueError(f"{name} is compressed or too large")
    return archive.read(info)


def _load(path: Path, name: str, view: _View, big: bool) -> np.ndarray:
    import ml_dtypes  # noqa: F401 - makes numpy know the type bfloat16

    with _opened(path) as archive:
        content = _content(archive, name)
    values = np.frombuffer(content, view.storage.dtype)
    values = values.byteswap() if big else values
    strides = [stride * values.itemsize for stride in view.strides]
    # The bounds are checked in read_torch.
    return np.lib.stride_tricks.as_strided(values[view.offset :], view.shape, strides, writeable=False)


def _check_bounds(name: str, view: _View) -> None:
    numbers = (view.offset, *view.shape, *view.strides)
    good = all(type(x) is int and x >= 0 for x in numbers) and len(view.shape) == len(view.strides)
    last = view.offset + sum((n - 1) * stride for n, stride in zip(view.shape, view.strides, strict=False))
    is_empty = 0 in view.shape
    if not good or (last >= view.storage.size and not is_empty):
        raise ValueError(f"{name} reaches beyond its storage")


def _check_storage(archive: zipfile.ZipFile, name: str, storage: _Storage) -> None:
    size = archive.getinfo(name).file_size
    itemsize = 2 if storage.dtype == "bfloat16" else np.dtype(storage.dtype).itemsize
    if size != storage.size * itemsize:
        raise ValueError(f"{name} has {size} bytes instead of {storage.size * itemsize}")


def _state_dict(tree: Any) -> dict[str, _View]:
    for name in ("state_dict", "model"):
        if isinstance(tree, dict) and isinstance(tree.get(name), dict):
            tree = tree[name]
    found = tree if isinstance(tree, dict) else {}
    views = {name: x for name, x in found.items() if isinstance(name, str) and isinstance(x, _View)}
    if not views:
        raise ValueError("it holds no tensors by name")
    prefix = "module."
    if all(name.startswith(prefix) for name in views):
        return {name.removeprefix(prefix): x for name, x in views.items()}
    return views


def _build(pickle: bytes) -> Any:
    """Builds what a pickle describes, from dicts, lists, tuples and views of storages."""
    machine = _Machine()
    for opcode, argument, _ in pickletools.genops(pickle):
        if opcode.name == "STOP":
            return machine.stack[-1]
        if opcode.name in _NUMBERS | _TEXTS:
            machine.push(argument)
        elif opcode.name in _INSTRUCTIONS:
            _INSTRUCTIONS[opcode.name](machine, argument)
        else:
            raise ValueError(f"its pickle has the instruction {opcode.name}, which no state dict needs")
    raise ValueError("its pickle has no end")


class _Machine:
    """The stack of a pickle's program, and what it has memorised."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def since_mark(self) -> list[Any]:
        """Takes what was pushed since the last mark."""
        return self.take(len(self.stack) - self.marks.pop())

    def take(self, count: int) -> list[Any]:
        """Takes the last `count` values off the stack."""
        start = len(self.stack) - count
        if start < 0:
            raise IndexError("its pickle takes more than it has put there")
        taken = self.stack[start:]
        del self.stack[start:]
        return taken

    def drop(self) -> None:
        """Leaves out the attributes of a state dict, which are the versions of its modules."""
        self.take(1)

    def memorise(self, index: int | None) -> None:
        self.memo[len(self.memo) if index is None else int(index)] = self.stack[-1]

    def name(self, name: str) -> None:
        """Pushes a name, if it is allowed."""
        if name not in _NAMES:
            raise Unsuitable(
                f"whose pickle names {name}, which no state dict needs and which is not run: save only "
                "model.state_dict(), by safetensors.torch.save_file."
            )
        self.push(_Name(name))

    def set_items(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise TypeError("its pickle sets entries of what is no dict")
        target.update(zip(pairs[::2], pairs[1::2], strict=True))

    def append(self, values: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise TypeError("its pickle appends to what is no list")
        self.stack[-1].extend(values)

    def storage(self) -> None:
        """Replaces a persistent id, ("storage", type, key, device, size), by the storage that it means."""
        ((kind, dtype, key, _, size),) = self.take(1)
        if kind != "storage" or not isinstance(key, str) or type(size) is not int:
            raise ValueError("its pickle refers to something else than a storage")
        self.push(_Storage(key, _STORAGES[dtype.name], size))

    def call(self) -> None:
        """Replaces a name and its arguments by what the function of that name returns."""
        function, arguments = self.take(2)
        if function == _Name(_TENSOR):
            storage, offset, shape, strides, *_ = arguments
            if not isinstance(storage, _Storage):
                raise TypeError("its pickle has a tensor without a storage")
            self.push(_View(storage, offset, tuple(shape), tuple(strides)))
        elif function == _Name(_PARAMETER):
            self.push(arguments[0])
        elif function == _Name(_DICT):
            self.push(dict(*arguments))
        elif function == _Name(_SIZE):
            self.push(tuple(*arguments))
        else:
            raise TypeError("its pickle calls what is no function of a state dict")


_NUMBERS = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"}
_TEXTS = {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES"}
_INSTRUCTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.since_mark())),
    "TUPLE1": lambda machine, _: machine.push(tuple(machine.take(1))),
    "TUPLE2": lambda machine, _: machine.push(tuple(machine.take(2))),
    "TUPLE3": lambda machine, _: machine.push(tuple(machine.take(3))),
    "SETITEM": lambda machine, _: machine.set_items(machine.take(2)),
    "SETITEMS": lambda machine, _: machine.set_items(machine.since_mark()),
    "APPEND": lambda machine, _: machine.append(machine.take(1)),
    "APPENDS": lambda machine, _: machine.append(machine.since_mark()),
    "BINPUT": lambda machine, index: machine.memorise(index),
    "LONG_BINPUT": lambda machine, index: machine.memorise(index),
    "MEMOIZE": lambda machine, _: machine.memorise(None),
    "BINGET": lambda machine, index: machine.push(machine.memo[index]),
    "LONG_BINGET": lambda machine, index: machine.push(machine.memo[index]),
    "GLOBAL": lambda machine, name: machine.name(name.replace(" ", ".", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.name(".".join(machine.take(2))),
    "BINPERSID": lambda machine, _: machine.storage(),
    "REDUCE": lambda machine, _: machine.call(),
    "BUILD": lambda machine, _: machine.drop(),
}
