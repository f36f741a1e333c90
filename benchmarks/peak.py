"""Returns the peak rates of devices: published values, and on a CPU the rate of a large matrix product."""

from __future__ import annotations

import re
import resource
import time
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Peak(NamedTuple):
    """The dense FLOP/s that a maker states for a chip: bfloat16 products, and float32 ones of default precision.

    That is TF32 on NVIDIA's chips from Ampere on, plain float32 on older ones, and bfloat16 passes on TPUs. None: the
    chip has no such products.
    """

    kind: str  # pattern of words in jax.Device.device_kind
    bfloat16: float | None
    float32: float | None
    source: str


# The first one whose kind stands in device_kind as words of their own is taken. Data sheets of NVIDIA state twice the
# dense numbers, with sparsity, except where they say dense; those here are dense, of the SXM modules unless the kind
# says PCIe or NVL.
_PEAKS = (
    Peak("GB300|GB200", 2500e12, 1250e12, "NVIDIA, GB200 and GB300 NVL72 data sheets (72 chips)"),
    Peak("B300", 2250e12, 1125e12, "NVIDIA, DGX B300 data sheet (8 chips)"),
    Peak("B200", 2250e12, 1125e12, "NVIDIA, HGX B200 data sheet"),
    Peak("GH200", 990e12, 495e12, "NVIDIA, GH200 data sheet"),
    Peak("H200 NVL", 835.5e12, 417.5e12, "NVIDIA, H200 data sheet"),
    Peak("H200", 989.5e12, 494.5e12, "NVIDIA, H200 data sheet"),
    Peak("H100 NVL", 835.5e12, 417.5e12, "NVIDIA, H100 data sheet"),
    Peak("H100 PCIe", 756e12, 378e12, "NVIDIA, H100 PCIe product brief"),
    Peak("H100", 989.5e12, 494.5e12, "NVIDIA, H100 data sheet"),
    Peak("A100", 312e12, 156e12, "NVIDIA, A100 data sheet"),
    Peak("A10G", 70e12, 35e12, "NVIDIA, A10G data sheet"),
    Peak("A10", 125e12, 62.5e12, "NVIDIA, A10 data sheet"),
    Peak("L40S", 362e12, 183e12, "NVIDIA, L40S data sheet"),
    Peak("L40", 181e12, 90.5e12, "NVIDIA, L40 data sheet"),
    Peak("L4", 121e12, 60e12, "NVIDIA, L4 data sheet"),
    Peak("RTX 4090", 165.2e12, 82.6e12, "NVIDIA, Ada GPU architecture white paper"),
    Peak("RTX 3090", 71e12, 35.6e12, "NVIDIA, GA102 GPU architecture white paper"),
    Peak("T4", None, 8.1e12, "NVIDIA, T4 data sheet"),
    Peak("V100", None, 15.7e12, "NVIDIA, V100 data sheet"),
    Peak("TPU v5 lite|TPU v5e", 197e12, 197e12, "Google Cloud, TPU v5e"),
    Peak("TPU v5|TPU v5p", 459e12, 459e12, "Google Cloud, TPU v5p"),
    Peak("TPU v6 lite|TPU v6e", 918e12, 918e12, "Google Cloud, TPU v6e"),
    Peak("TPU v4", 275e12, 275e12, "Google Cloud, TPU v4"),
)
_SIZE, _REPEATS = 2048, 5


def peak_flops(devices: Sequence[jax.Device], dtype: str) -> tuple[float | None, str]:
    """Returns the FLOP/s of all devices together, None if unknown, and where the number comes from.

    On a CPU it is measured; see matmul_flops.
    """
    if devices[0].platform == "cpu":
        return matmul_flops(devices[0], dtype), f"the best of {_REPEATS} {dtype} products of {_SIZE}×{_SIZE} matrices"
    return published_flops(devices, dtype)


def published_flops(devices: Sequence[jax.Device], dtype: str) -> tuple[float | None, str]:
    """Returns the published FLOP/s of all devices together, None if unknown, and where the number comes from."""
    kind = devices[0].device_kind
    for peak in _PEAKS:
        rate = {"bfloat16": peak.bfloat16, "float32": peak.float32}.get(dtype)
        if rate and re.search(rf"\b({peak.kind})\b", kind):
            return len(devices) * rate, f"{peak.source}: {rate / 1e12:g} TFLOP/s, dense"
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
