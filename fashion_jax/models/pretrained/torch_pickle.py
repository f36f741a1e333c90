"""Interprets the pickle of a state dict of PyTorch, without PyTorch and without executing anything.

A pickle is a program. The interpreter here builds dicts, lists and tuples, and knows only the few functions that a
state dict needs; it calls no function that a file names.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterable
from typing import IO, Any, NamedTuple

from fashion_jax.models.pretrained.tensors import Unsuitable

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
_DICT = "collections.OrderedDict"
_TENSORS = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor")  # the second one before PyTorch 0.4
_PARAMETER = "torch._utils._rebuild_parameter"
_SIZE = "torch.Size"
# What a pickle may name: functions, types of storages, and types of numbers.
_NAMES = {_DICT, *_TENSORS, _PARAMETER, _SIZE, *_STORAGES} | {f"torch.{dtype}" for dtype in _DTYPES.values()}


class _Name(NamedTuple):
    """A function or a type that a pickle names; it is compared, and never looked up."""

    name: str


class Storage(NamedTuple):
    """The values that tensors share.

    Attributes:
        key: names the storage in its file.
        dtype: numpy's name of the type.
        size: number of values.
    """

    key: str
    dtype: str
    size: int


class View(NamedTuple):
    """A tensor: values of a storage, `offset` and `strides` in values."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Built(NamedTuple):
    """What a pickle describes.

    Attributes:
        tree: dicts, lists and tuples of Views.
        storages: all that it refers to, by their keys.
    """

    tree: Any
    storages: dict[str, Storage]


def build(pickle: bytes | IO[bytes]) -> Built:
    """Builds what a pickle describes; a file is read up to the end of the pickle.

    Raises:
        Unsuitable: it names a function that is not allowed.
        ValueError, LookupError, TypeError: it is no pickle of a state dict.
    """
    machine = _Machine()
    for opcode, argument, _ in pickletools.genops(pickle):
        if opcode.name == "STOP":
            return Built(machine.stack[-1], machine.storages)
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
        self.storages: dict[str, Storage] = {}

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
        target.update(_items(zip(pairs[::2], pairs[1::2], strict=True)))

    def append(self, values: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise TypeError("its pickle appends to what is no list")
        self.stack[-1].extend(values)

    def storage(self) -> None:
        """Replaces a persistent id, ("storage", type, key, device, size), by the storage that it means.

        Before PyTorch 1.6 it has a part more, which is None if the storage is not a part of another one.
        """
        ((kind, dtype, key, _, size, *part),) = self.take(1)
        if kind != "storage" or not isinstance(key, str) or type(size) is not int or any(part):
            raise ValueError("its pickle refers to something else than a storage")
        self.storages[key] = Storage(key, _STORAGES[dtype.name], size)
        self.push(self.storages[key])

    def call(self) -> None:
        """Replaces a name and its arguments by what the function of that name returns."""
        function, arguments = self.take(2)
        if function in [_Name(name) for name in _TENSORS]:
            storage, offset, shape, strides, *_ = arguments
            if not isinstance(storage, Storage):
                raise TypeError("its pickle has a tensor without a storage")
            self.push(View(storage, offset, tuple(shape), tuple(strides)))
        elif function == _Name(_PARAMETER):
            self.push(arguments[0])
        elif function == _Name(_DICT):
            self.push(dict(_items(*arguments)))
        elif function == _Name(_SIZE):
            self.push(tuple(*arguments))
        else:
            raise TypeError("its pickle calls what is no function of a state dict")


def _items(pairs: Iterable[tuple[Any, Any]] = ()) -> list[tuple[Any, Any]]:
    """Returns the entries of a dict, if their keys are names or numbers; to hash others may take for ever."""
    items = list(pairs)
    if not all(isinstance(key, (str, int)) for key, _ in items):
        raise TypeError("its pickle has an entry under something else than a name or a number")
    return items


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
