"""Where the decoded images of a split are kept: data.cache, checked against the memory that is free."""

from __future__ import annotations

from pathlib import Path

from jax.sharding import Mesh
from ml_collections import ConfigDict

from fashion_jax.errors import UserError

_AUTO_SHARE = 1 / 4  # of the free memory: training and validation are two sets, and the rest has other uses

_ASKED_SHARE = 0.8

_CGROUP = Path("/sys/fs/cgroup")


def cache_mode(config: ConfigDict, size: int, mesh: Mesh | None) -> str:
    """none, host or device, for `size` bytes of decoded images; the devices are those of a mesh, if there is one.

    Raises:
        UserError: data.cache asks for a memory that is too small.
    """
    asked = config.data.cache
    free_host = free_memory()
    free_device = free_device_memory(mesh)
    if asked == "auto":
        passes_host = size <= free_host * _ASKED_SHARE  # where the images are decoded to on their way
        if free_device is not None and size <= free_device * _AUTO_SHARE and passes_host:
            return "device"
        return "host" if size <= free_host * _AUTO_SHARE else "none"
    if asked == "device" and mesh is None:
        asked = "host"
    free = {"none": size / _ASKED_SHARE, "host": free_host, "device": free_host if free_device is None else free_device}
    if asked == "device":  # the images are decoded to the host's memory on their way
        free["device"] = min(free["device"], free_host)
    if size > free[asked] * _ASKED_SHARE:
        raise UserError(
            f"data.cache is {asked!r}, but the decoded images take {_gib(size)} and {_gib(free[asked])} are free: "
            "use data.cache=none, or lower image_size or data.canvas_size."
        )
    return asked


def free_memory() -> int:
    """Bytes that this process can still take, within the limit of its container where there is one."""
    import psutil

    free = psutil.virtual_memory().available
    try:
        limit = int((_CGROUP / "memory.max").read_text())  # ValueError where it is "max"
        used = int((_CGROUP / "memory.current").read_text())
        files = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        return min(free, limit - used + int(files["inactive_file"]))  # a cache of files is given up when needed
    except (OSError, ValueError, KeyError):
        return free


def free_device_memory(mesh: Mesh | None) -> int | None:
    """The least bytes free on a device of this process; None for CPUs, and where a device does not tell."""
    if mesh is None or mesh.devices.flat[0].platform == "cpu":
        return None
    stats = [device.memory_stats() for device in mesh.local_devices]
    if not all(stats):
        return None
    return min(x["bytes_limit"] - x["bytes_in_use"] for x in stats)


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
