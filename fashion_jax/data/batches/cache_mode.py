"""Decides where the decoded images of a split are kept: applies data.cache to the memory that is free."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from jax.sharding import Mesh

from fashion_jax.command_line.formats import gibibytes
from fashion_jax.devices.host import container, machine
from fashion_jax.devices.processes import exchange
from fashion_jax.errors import UserError

_AUTO_SHARE = 1 / 4  # of the free memory: training and validation each take one, and other things need memory too

_ASKED_SHARE = 0.8

_CGROUP, _OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
# Of the two versions of Linux's control groups: the folder, the limit, what is used, and the cached file pages in it.
_UNIFIED = "", "memory.max", "memory.current", "inactive_file"
_FIRST_VERSION = "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"


class Memory(NamedTuple):
    """The memory that a process may still allocate.

    Attributes:
        host: bytes of the host's memory.
        device: bytes on each of the process's devices; None on CPU, or if a device does not report them.
        sharers: the processes that divide the host's memory among themselves, this one included.
    """

    host: int
    device: int | None
    sharers: int = 1


def cache_mode(asked: str, size: int, mesh: Mesh | None) -> str:
    """Returns "none", "host" or "device": where `size` bytes of decoded images are kept if data.cache is `asked`.

    Without a mesh nothing is kept on devices. All processes of a mesh call this at the same time and get the same
    answer, which fits into the memory of each.

    Raises:
        UserError: the memory that data.cache asks for is too small.
    """
    memory = _memory(mesh)
    decoded = size if mesh is None else -(-size // _num_processes(mesh))  # by a process that fills devices
    if asked == "auto":
        passes_host = decoded <= memory.host * _ASKED_SHARE
        if memory.device is not None and size <= memory.device * _AUTO_SHARE and passes_host:
            return "device"
        return "host" if size <= memory.host * _AUTO_SHARE else "none"
    if asked == "device" and mesh is None:
        asked = "host"
    on_device = memory.host if memory.device is None else memory.device
    needs = {"none": [], "host": [(size, memory.host)], "device": [(decoded, memory.host), (size, on_device)]}
    for needed, free in needs[asked]:
        if needed > free * _ASKED_SHARE:
            each = f" for each of the {memory.sharers} processes of a machine" if memory.sharers > 1 else ""
            raise UserError(
                f"data.cache is {asked!r}, but the decoded images take {gibibytes(needed)} and {gibibytes(free)} are "
                f"free{each}: use data.cache=none, or lower image_size or data.canvas_size."
            )
    return asked


def _memory(mesh: Mesh | None) -> Memory:
    """Returns the memory of this process or, with several, the least that any of them has."""
    if mesh is None or not mesh.is_multi_process:
        return Memory(free_memory(), free_device_memory(mesh))
    return Memory(*exchange("memory", [free_by_place(), free_device_memory(mesh)], least_memory))


def least_memory(found: Sequence[tuple[dict[str, int], int | None]]) -> Memory:
    """Returns the least memory that is left to any process when all take as much.

    Args:
        found: of each process, what `free_by_place` and `free_device_memory` return.
    """
    sharers = Counter(place for places, _ in found for place in places)
    shares = [(free // sharers[place], sharers[place]) for places, _ in found for place, free in places.items()]
    host, divided_by = min(shares)
    devices = [device for _, device in found if device is not None]
    return Memory(host, min(devices) if len(devices) == len(found) else None, divided_by)


def free_memory() -> int:
    """Returns the bytes that this process can still allocate, within the limit of its container if there is one."""
    return min(free_by_place().values())


def free_by_place() -> dict[str, int]:
    """Returns the bytes that are free on this machine, and those within the limits of its container or batch job.

    The keys are equal in processes that share the memory.
    """
    import psutil

    free = {machine(): psutil.virtual_memory().available}
    for group, (folder, limit, used, cached) in _control_groups():
        place = _CGROUP / folder / group
        with contextlib.suppress(OSError, ValueError, KeyError):  # a limit may be "max"
            most, now = (int((place / name).read_text()) for name in (limit, used))
            files = dict(line.split() for line in (place / "memory.stat").read_text().splitlines())
            # the kernel drops cached file pages when memory is needed
            free[f"group {container()} {group}"] = most - now + int(files[cached])
    return free


def _control_groups() -> Iterator[tuple[Path, tuple[str, str, str, str]]]:
    """Yields this process's control groups and those above them, whose limits hold too, and where their files are."""
    with contextlib.suppress(OSError):
        for line in _OWN_CGROUPS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            own = Path(path.lstrip("/"))
            if not controllers or "memory" in controllers.split(","):
                yield from ((group, _FIRST_VERSION if controllers else _UNIFIED) for group in (own, *own.parents))


def _num_processes(mesh: Mesh) -> int:
    return len({device.process_index for device in mesh.devices.flat})


def free_device_memory(mesh: Mesh | None) -> int | None:
    """Returns the fewest bytes free on any device of this process; None on CPU or if a device does not report them."""
    if mesh is None or mesh.devices.flat[0].platform == "cpu":
        return None
    stats = [device.memory_stats() for device in mesh.local_devices]
    if not all(stats):
        return None
    return min(x["bytes_limit"] - x["bytes_in_use"] for x in stats)
