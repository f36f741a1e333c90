"""Decides where the decoded images of a split are kept: applies data.cache to the memory that is free."""

from __future__ import annotations

from pathlib import Path

from jax.sharding import Mesh

from fashion_jax.errors import UserError

_AUTO_SHARE = 1 / 4  # of the free memory: training and validation each take one, and other things need memory too

_ASKED_SHARE = 0.8

_CGROUP = Path("/sys/fs/cgroup")


def cache_mode(asked: str, size: int, mesh: Mesh | None) -> str:
    """Returns "none", "host" or "device": where `size` bytes of decoded images are kept if data.cache is `asked`.

    Without a mesh nothing is kept on devices.

    Raises:
        UserError: the memory that data.cache asks for is too small.
    """
    free_host = free_memory()
    free_device = free_device_memory(mesh)
    if asked == "auto":
        passes_host = size <= free_host * _ASKED_SHARE  # the images pass through the host's memory
        if free_device is not None and size <= free_device * _AUTO_SHARE and passes_host:
            return "device"
        return "host" if size <= free_host * _AUTO_SHARE else "none"
    if asked == "device" and mesh is None:
        asked = "host"
    free = {"none": size / _ASKED_SHARE, "host": free_host, "device": free_host if free_device is None else free_device}
    if asked == "device":  # the images pass through the host's memory
        free["device"] = min(free["device"], free_host)
    if size > free[asked] * _ASKED_SHARE:
        raise UserError(
            f"data.cache is {asked!r}, but the decoded images take {_gib(size)} and {_gib(free[asked])} are free: "
            "use data.cache=none, or lower image_size or data.canvas_size."
        )
    return asked


def free_memory() -> int:
    """Returns the bytes that this process can still allocate, within the limit of its container if there is one."""
    import psutil

    free = psutil.virtual_memory().available
    try:
        limit = int((_CGROUP / "memory.max").read_text())  # ValueError where it is "max"
        used = int((_CGROUP / "memory.current").read_text())
        files = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        return min(
            free, limit - used + int(files["inactive_file"])
        )  # the kernel drops cached file pages when memory is needed
    except (OSError, ValueError, KeyError):
        return free


def free_device_memory(mesh: Mesh | None) -> int | None:
    """Returns the fewest bytes free on any device of this process; None on CPU or if a device does not report them."""
    if mesh is None or mesh.devices.flat[0].platform == "cpu":
        return None
    stats = [device.memory_stats() for device in mesh.local_devices]
    if not all(stats):
        return None
    return min(x["bytes_limit"] - x["bytes_in_use"] for x in stats)


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
