"""Profiles one step and names its slowest kernels or fusions."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax

_SLOWEST = 5


class Kernel(NamedTuple):
    """One execution of a kernel on a GPU, or of an operation or fusion of XLA elsewhere."""

    name: str
    nanoseconds: float


def profile(step: Callable[[], Any]) -> dict[str, Any]:
    """Runs a step under JAX's profiler; returns its slowest kernels and the time of all.

    On a GPU the times are those of the kernels on the device. On a CPU they are those of XLA's operations in all
    threads, where an operation that waits for others counts their time too.
    """
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            step()
        files = sorted(Path(folder).rglob("*.xplane.pb"))
        return slowest(kernel for file in files for kernel in _kernels(jax.profiler.ProfileData.from_file(str(file))))


def _kernels(data: Any) -> Iterator[Kernel]:
    """Yields what ran on the devices: the lines of streams on GPUs, the operations of XLA where there are none."""
    planes = list(data.planes)
    devices = [plane for plane in planes if plane.name.startswith("/device:") and list(plane.lines)]
    for plane in devices or planes:
        lines = list(plane.lines)
        streams = [line for line in lines if line.name.startswith("Stream")]
        for line in streams or lines:
            for event in line.events:
                operation = next((str(value) for name, value in event.stats if name == "hlo_op"), "")
                if streams or operation:
                    is_named = operation and operation not in event.name
                    yield Kernel(f"{event.name} ({operation})" if is_named else event.name, event.duration_ns)


def slowest(kernels: Iterable[Kernel]) -> dict[str, Any]:
    """Adds up the executions of each kernel; returns the slowest, with their share of the time of all."""
    seconds, counts = defaultdict(float), defaultdict(int)
    for name, nanoseconds in kernels:
        seconds[name] += nanoseconds / 1e9
        counts[name] += 1
    total = sum(seconds.values())
    names = sorted(seconds, key=seconds.__getitem__, reverse=True)[:_SLOWEST]
    rows = [{"name": x, "seconds": seconds[x], "share": seconds[x] / total, "count": counts[x]} for x in names]
    return {"seconds": total, "kernels": sum(counts.values()), "slowest": rows}
