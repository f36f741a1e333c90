"""Returns the peak rates of devices: published values, and on a CPU the rate of a large matrix product."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp

# Dense FLOP/s of a device, by a part of its device_kind, from the makers' data sheets: (bfloat16, float32 with the
# matrix unit's default precision, which JAX takes for float32: TF32 on NVIDIA's, bfloat16 passes on TPUs).
_PEAKS = {
    "H200": (989e12, 495e12),
    "H100": (989e12, 495e12),
    "A100": (312e12, 156e12),
    "L4": (121e12, 60e12),
    "V100": (125e12, 15.7e12),
    "TPU v5 lite": (197e12, 197e12),
    "TPU v5": (459e12, 459e12),
    "TPU v6": (918e12, 918e12),
    "TPU v4": (275e12, 275e12),
}
_SIZE, _REPEATS = 2048, 5


def peak_flops(devices: Sequence[jax.Device], dtype: str) -> tuple[float | None, str]:
    """Returns the FLOP/s of all devices together, None if unknown, and where the number comes from."""
    kind = devices[0].device_kind
    if devices[0].platform == "cpu":
        return matmul_flops(devices[0], dtype), f"the best of {_REPEATS} {dtype} products of {_SIZE}×{_SIZE} matrices"
    for name, (bfloat16, float32) in _PEAKS.items():
        if name in kind and dtype in ("bfloat16", "float32"):
            return len(devices) * (bfloat16 if dtype == "bfloat16" else float32), f"data sheet of {name}"
    return None, f"not known for {kind} in {dtype}"


def matmul_flops(device: jax.Device, dtype: str) -> float:
    """Measures the FLOP/s of the fastest of a few large matrix products; devices that share a CPU's cores share it."""
    x = jax.device_put(jnp.full((_SIZE, _SIZE), 1 / _SIZE, dtype), device)
    product = jax.jit(jnp.matmul).lower(x, x).compile()
    jax.block_until_ready(product(x, x))
    seconds = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        jax.block_until_ready(product(x, x))
        seconds.append(time.perf_counter() - began)
    return 2 * _SIZE**3 / min(seconds)


def peak_memory(devices: Sequence[jax.Device]) -> int:
    """Returns the peak bytes in use: on the fullest device, or by this process if devices do not report it."""
    stats = [device.memory_stats() or {} for device in devices]
    used = [s["peak_bytes_in_use"] for s in stats if "peak_bytes_in_use" in s]
    return max(used) if used else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
