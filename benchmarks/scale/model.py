"""Computes the time of a step on any number of chips, and what it asks of hosts, network and storage.

Nothing here is a measurement on an accelerator. The least time of a step on one chip comes from the compiled program
(benchmarks.aot), and collectives from the bandwidths and latencies of benchmarks/scale/machines.py.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from benchmarks.scale.machines import Machine
from benchmarks.tpu import collective_seconds

IMAGE_SIZE = 224  # pixels, of the compiled steps


@dataclasses.dataclass(frozen=True)
class Step:
    """A training step on one chip.

    Attributes:
        image_seconds: least time per image.
        fixed_seconds: least time for any number of images: the state is read and written once.
        collectives: number of all-reduces and all-gathers.
        collective_bytes: of all their results together.
    """

    image_seconds: float
    fixed_seconds: float
    collectives: int
    collective_bytes: float


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of stored image.

    Attributes:
        title: name in the tables.
        images_per_core: images/s that one core of the host reads, decodes and resizes.
        bytes: of a stored image.
    """

    title: str
    images_per_core: float
    bytes: float


def create_step(result: Mapping[str, Any], machine: Machine) -> Step:
    """Returns the step that a result of benchmarks.aot describes, on a machine.

    On a chip that it was compiled for, an image takes its share of the bound. On another one it takes the time of its
    FLOPs and then that of its bytes, since no program says which of them overlap.
    """
    images, counts, chip = result["images_per_chip"], result["counts"], machine.chip
    fixed = 2 * result["aliased_bytes"] / chip.memory_bandwidth
    whole = images / result["bound_images_per_second"]
    if not machine.is_compiled:
        whole = images * (counts["flops_per_image"] / chip.flops + counts["bytes_per_image"] / chip.memory_bandwidth)
    return Step((whole - fixed) / images, fixed, counts["collectives"], counts["collective_bytes"])


def network_seconds(step: Step, machine: Machine, chips: int) -> float:
    """Returns the time of a step's collectives, which hide behind nothing.

    Inside a slice they go round the rings of the torus (benchmarks.tpu.collective_seconds). Between slices every
    collective goes up and down a binary tree of slices, and each slice sends twice the bytes through the network of all
    its hosts.
    """
    inside = min(chips, machine.slice_chips)
    size = step.collective_bytes / step.collectives
    seconds = collective_seconds([("", size)] * step.collectives, inside, machine.chip)
    slices = math.ceil(chips / machine.slice_chips)
    if slices == 1:
        return seconds
    bandwidth = machine.host_network * machine.slice_chips / machine.host_chips
    hops = 2 * math.ceil(math.log2(slices))
    sent = 2 * (slices - 1) / slices * step.collective_bytes
    return seconds + step.collectives * hops * machine.hop_seconds + sent / bandwidth


def step_seconds(step: Step, machine: Machine, chips: int, images: float) -> float:
    """Returns the least time of a step with so many images on each chip."""
    return step.fixed_seconds + images * step.image_seconds + network_seconds(step, machine, chips)


def scaling(step: Step, machine: Machine, chips: int, per_chip: int, batch: int) -> dict[str, float]:
    """Returns images/s per chip with `per_chip` images on each chip, and with a fixed batch, and their efficiency."""
    alone = step_seconds(step, machine, 1, per_chip) / per_chip
    grown = step_seconds(step, machine, chips, per_chip) / per_chip
    fixed = step_seconds(step, machine, chips, batch / chips) / (batch / chips)
    return {
        "chips": chips,
        "images_per_second_per_chip": 1 / grown,
        "efficiency": alone / grown,
        "fixed_batch_images_per_second_per_chip": 1 / fixed,
        "fixed_batch_efficiency": alone / fixed,
        "fixed_batch_step_seconds": fixed * batch / chips,
    }


def demand(images_per_second: float, kind: Kind, machine: Machine) -> dict[str, float]:
    """Returns what a chip at so many images/s asks of its host, and how much of the host that is.

    `cores` are those that decode, `bytes_per_second` what is read from storage, for one chip; the shares are of the
    cores and of the network that a host has for each of its chips.
    """
    cores = images_per_second / kind.images_per_core
    rate = images_per_second * kind.bytes
    return {
        "cores": cores,
        "cores_share": cores * machine.host_chips / machine.host_cores,
        "bytes_per_second": rate,
        "network_share": rate * machine.host_chips / machine.host_network,
    }


def cached_images(machine: Machine, image_bytes: int, share: float) -> float:
    """Returns how many decoded images a share of a host's memory holds."""
    return machine.host_memory * share / image_bytes
