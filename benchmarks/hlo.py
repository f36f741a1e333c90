"""Reads the text of an optimised HLO program: instructions, their traffic to memory, FLOPs and collectives."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

_ARRAY = re.compile(r"\b(pred|token|bf16|[suf]\d+\w*|c64|c128)\[([\d,]*)\](?:\{([^}]*)\})?")
_DEFINITION = re.compile(r"^\s+(?:ROOT )?%?([\w.-]+) = (.*)$")
_HEADER = re.compile(r"^(ENTRY )?%?([\w.-]+) .*\{$")
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "partition-id", "after-all", "iota"}
_COLLECTIVES = {"all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute"}
_WAITS = ("-done", "-update")  # the second half of an operation, which is counted where it starts


class Array(NamedTuple):
    """An array of the program: type, sizes, and whether it lies in memory or on the chip (a space S(n), n > 0)."""

    dtype: str
    dims: tuple[int, ...]
    on_chip: bool

    @property
    def shape(self) -> str:
        """Returns type and sizes as HLO writes them, such as bf16[256,56,56,64]."""
        return f"{self.dtype}[{','.join(map(str, self.dims))}]"

    @property
    def bytes(self) -> int:
        """Returns the size in bytes, without the padding of tiles."""
        bits = 8 if self.dtype == "pred" else 0 if self.dtype == "token" else int(re.search(r"\d+", self.dtype)[0])
        return math.prod(self.dims) * bits // 8


class Instruction(NamedTuple):
    """One line of the program: name, opcode, results (tuples flattened), names of the operands, and attributes."""

    name: str
    opcode: str
    results: tuple[Array, ...]
    operands: tuple[str, ...]
    attributes: str

    @property
    def called(self) -> list[str]:
        """Returns the names of the computations that the instruction runs."""
        return re.findall(r"(?:calls|body|to_apply)=%?([\w.-]+)", self.attributes)

    @property
    def is_prefetch(self) -> bool:
        """Returns whether the instruction starts a copy that runs beside the computation."""
        return self.opcode in ("copy-start", "slice-start", "async-start")

    @property
    def is_collective(self) -> bool:
        """Returns whether the instruction exchanges arrays between devices, or starts to."""
        return self.opcode.removesuffix("-start") in _COLLECTIVES


class Program:
    """The computations of an HLO program: name -> instructions in order."""

    def __init__(self, text: str):
        self.computations: dict[str, list[Instruction]] = {}
        self.entry = ""
        current: list[Instruction] = []
        for line in text.splitlines():
            if header := _HEADER.match(line):
                current = self.computations.setdefault(header[2], [])
                self.entry = header[2] if header[1] else self.entry
            elif definition := _DEFINITION.match(line):
                current.append(_instruction(*definition.groups()))
        self._arrays = {i.name: i.results for instructions in self.computations.values() for i in instructions}

    def instructions(self) -> Iterator[tuple[Instruction, int]]:
        """Yields the instructions that run, in order, and how often: loop bodies count by their trip count."""
        yield from self._running(self.entry, 1)

    def _running(self, computation: str, times: int) -> Iterator[tuple[Instruction, int]]:
        for instruction in self.computations[computation]:
            if instruction.opcode == "while":
                trips = re.search(r'known_trip_count":\{"n":"(\d+)"', instruction.attributes)
                body = re.search(r"body=%?([\w.-]+)", instruction.attributes)[1]
                yield from self._running(body, times * (int(trips[1]) if trips else 1))
            else:
                yield instruction, times

    def moved(self, instruction: Instruction) -> list[Array]:
        """Returns the arrays that an instruction moves to or from memory; one that it reads and writes is listed twice.

        On-chip arrays do not count; a copy to or from the chip counts once, and that of a slice with its own size.
        """
        opcode = instruction.opcode
        if opcode in _FREE or opcode.endswith(_WAITS) or '"ConcatBitcast"' in instruction.attributes:
            return []
        if instruction.is_prefetch:
            arrays = sorted((x for x in instruction.results if x.dims), key=lambda x: x.bytes)
            return arrays[:1] * sum(not array.on_chip for array in arrays)
        read = [array for name in dict.fromkeys(instruction.operands) for array in self._arrays.get(name, ())]
        return [array for array in (*instruction.results, *read) if not array.on_chip]

    def memory_bytes(self, instruction: Instruction) -> int:
        """Returns the bytes that an instruction moves to and from memory; see `moved`."""
        return sum(array.bytes for array in self.moved(instruction))

    def flops(self, instruction: Instruction) -> int:
        """Counts the FLOPs of the convolutions and matrix products in an instruction and in what it calls.

        A multiply-add counts as two.
        """
        if instruction.opcode in ("convolution", "dot"):
            shapes = [self._arrays[name][0].dims for name in instruction.operands]
            return (
                _convolution_flops(instruction, *shapes)
                if instruction.opcode == "convolution"
                else _dot_flops(instruction, shapes[0])
            )
        called = [i for name in instruction.called for i in self.computations.get(name, ())]
        return sum(self.flops(i) for i in called)

    def collectives(self) -> list[tuple[str, int]]:
        """Returns the opcode of each collective that runs, and the bytes of its results on one device."""
        found = []
        for instruction, times in self.instructions():
            if instruction.is_collective:
                arrays = instruction.results
                if instruction.opcode.endswith("-start") and len(arrays) > 1:
                    arrays = arrays[len(arrays) // 2 :]  # of (operands, results)
                opcode = instruction.opcode.removesuffix("-start")
                found += [(opcode, sum(array.bytes for array in arrays))] * times
        return found


def _instruction(name: str, text: str) -> Instruction:
    text = re.sub(r"/\*.*?\*/", "", text)
    shape, rest = _cut(text) if text.startswith("(") else text.split(" ", 1)
    rest = rest.strip()
    opcode, rest = rest.split("(", 1)
    operands, attributes = _cut("(" + rest)
    return Instruction(name, opcode, tuple(_arrays(shape)), tuple(re.findall(r"%([\w.-]+)", operands)), attributes)


def _cut(text: str) -> tuple[str, str]:
    """Splits text that starts with a parenthesis into the parenthesized part and the rest."""
    depth = 0
    for place, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if not depth:
            return text[: place + 1], text[place + 1 :]
    raise ValueError(f"The parenthesis is not closed in {text[:80]!r}.")


def _arrays(text: str) -> Iterator[Array]:
    for dtype, dims, layout in _ARRAY.findall(text):
        space = re.search(r"S\((\d+)\)", layout)
        yield Array(dtype, tuple(map(int, filter(None, dims.split(",")))), bool(space) and space[1] != "0")


def _dot_flops(instruction: Instruction, left: tuple[int, ...]) -> int:
    contracting = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", instruction.attributes)
    depth = math.prod(left[int(i)] for i in contracting[1].split(",") if i)
    return 2 * math.prod(instruction.results[0].dims) * depth


def _convolution_flops(instruction: Instruction, left: tuple[int, ...], kernel: tuple[int, ...]) -> int:
    """Counts two FLOPs per pair of a value and a weight that meet; padding and holes of dilation do not count."""
    left_names, kernel_names, out_names = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.attributes).groups()
    out = dict(zip(out_names, instruction.results[0].dims, strict=True))
    sizes, kernel_sizes = (
        dict(zip(names, dims, strict=True)) for names, dims in ((left_names, left), (kernel_names, kernel))
    )
    window = re.search(r"window=\{([^}]*)\}", instruction.attributes)
    fields = dict(field.split("=") for field in window[1].split()) if window else {}
    pairs = out["b"] * out["f"] * kernel_sizes["i"]
    for place, dim in enumerate(sorted(name for name in sizes if name.isdigit())):
        given = {name: value.split("x")[place] for name, value in fields.items()}
        low = int(given.get("pad", "0_0").split("_")[0])
        numbers = [int(given.get(name, 1)) for name in ("stride", "lhs_dilate", "rhs_dilate")]
        pairs *= _meeting(sizes[dim], kernel_sizes[dim], out[dim], low, *numbers)
    return 2 * pairs


def _meeting(size: int, taps: int, outputs: int, low: int, stride: int, dilation: int, tap_dilation: int) -> int:
    """Counts the pairs of an output and a tap that fall onto a value along one dimension."""
    places = (i * stride + j * tap_dilation - low for i in range(outputs) for j in range(taps))
    return sum(place % dilation == 0 and 0 <= place // dilation < size for place in places)
