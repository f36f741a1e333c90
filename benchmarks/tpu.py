"""Predicts a TPU step's best time and its scaling, from counts of its program and published peaks."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Sequence

from benchmarks.hlo import Program


@dataclasses.dataclass(frozen=True)
class Chip:
    """Published peaks of a chip (cloud.google.com/tpu/docs/system-architecture-tpu-vm).

    Attributes:
        flops: bfloat16 FLOP/s.
        memory_bandwidth: bytes/s.
        memory_bytes: size of its memory.
        link_bandwidth: bytes/s out of the chip, over all its links.
        dims: dimensions of the torus that the chips form.
    """

    flops: float
    memory_bandwidth: float
    memory_bytes: int
    link_bandwidth: float
    dims: int


CHIPS = {
    "v5e": Chip(197e12, 819e9, 16 << 30, 200e9, 2),
    "v5p": Chip(459e12, 2765e9, 95 << 30, 600e9, 3),
    "v6e": Chip(918e12, 1640e9, 32 << 30, 400e9, 2),
}
HOP_SECONDS = 1e-6  # from a chip to its neighbour

ASSUMPTIONS = (
    "the step on one chip takes its bound, the sum over instructions of the larger of FLOPs / peak and bytes / "
    "memory bandwidth, copies beside them hidden but for the bandwidth they take in all; "
    "collectives hide behind nothing, take 1 µs a hop of a ring along each axis of the torus, there and back, and "
    "twice their bytes through the chip's links; the input keeps up"
)


def traffic(program: Program) -> dict[str, int]:
    """Returns the bytes that a step moves to and from memory on one chip, by kind of instruction."""
    total = dict.fromkeys(("convolutions", "prefetches", "collectives", "other"), 0)
    for instruction, times in program.instructions():
        if instruction.is_prefetch:
            kind = "prefetches"
        elif instruction.is_collective:
            kind = "collectives"
        else:
            kind = "convolutions" if program.flops(instruction) else "other"
        total[kind] += times * program.memory_bytes(instruction)
    return total


def traffic_by_array(program: Program) -> dict[str, int]:
    """Returns the bytes that a step moves to and from memory on one chip, by type and shape of array, most first."""
    total: Counter[str] = Counter()
    for instruction, times in program.instructions():
        for array in program.moved(instruction):
            total[array.shape] += times * array.bytes
    return dict(total.most_common())


def bound_seconds(program: Program, chip: Chip) -> float:
    """Returns the least time of a step on one chip without collectives; see ASSUMPTIONS."""
    serial = moved = 0.0
    for instruction, times in program.instructions():
        in_memory = times * program.memory_bytes(instruction) / chip.memory_bandwidth
        moved += in_memory
        if not instruction.is_prefetch:
            serial += max(times * program.flops(instruction) / chip.flops, in_memory)
    return max(serial, moved)


def collective_seconds(collectives: Iterable[tuple[str, int]], chips: int, chip: Chip) -> float:
    """Returns the time of the collectives (opcode, bytes) on a number of chips; see ASSUMPTIONS."""
    side = round(chips ** (1 / chip.dims))
    hops = 2 * chip.dims * max(side - 1, 1) if chips > 1 else 0
    share = (chips - 1) / chips
    return sum(hops * HOP_SECONDS + 2 * share * size / chip.link_bandwidth for _, size in collectives)


def scaling(
    seconds: float, collectives: Sequence[tuple[str, int]], images: int, chip: Chip, counts: Sequence[int]
) -> list[dict[str, float]]:
    """Predicts images/s per chip, and the efficiency relative to one chip, for numbers of chips with `images` each."""
    rows = []
    for chips in counts:
        step = seconds + collective_seconds(collectives, chips, chip)
        rows.append({"chips": chips, "images_per_second_per_chip": images / step, "efficiency": seconds / step})
    return rows


def over_budget(measured: dict[str, float], budget: dict[str, float]) -> list[str]:
    """Returns a sentence for each line of the budget that is exceeded."""
    return [
        f"{name} is {_number(measured[name])}, above the budget of {_number(limit)}"
        for name, limit in budget.items()
        if measured[name] > limit
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}" if math.isfinite(value) else str(value)
