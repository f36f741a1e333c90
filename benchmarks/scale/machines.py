"""The accelerators that docs/scale.md computes for, in their usual hosts, with numbers from data sheets."""

from __future__ import annotations

import dataclasses

from benchmarks.tpu import CHIPS, Chip

_GBIT = 1e9 / 8  # bytes/s
_GB = 1e9


@dataclasses.dataclass(frozen=True)
class Machine:
    """Chips in hosts, and the networks between them.

    Attributes:
        title: name in the tables.
        result: file of benchmarks/results with the step compiled for this chip, or for the one it is computed from.
        is_compiled: whether the step was compiled for this chip.
        chip: its published peaks; its links connect the chips of a slice.
        slice_chips: most chips that these links connect; beyond them, slices use the network of their hosts.
        host_chips: chips of a host.
        host_cores: vCPUs of a host.
        host_memory: bytes.
        host_network: bytes/s.
        hop_seconds: from a host to another one.
    """

    title: str
    result: str
    is_compiled: bool
    chip: Chip
    slice_chips: int
    host_chips: int
    host_cores: int
    host_memory: float
    host_network: float
    hop_seconds: float


_H100 = Chip(989.5e12, 3350e9, 80 << 30, 450e9, 1)  # NVIDIA, H100 SXM data sheet; NVLink 900 GB/s in both directions
_INFINIBAND_HOP, _ETHERNET_HOP = 10e-6, 50e-6  # assumed

# Hosts of TPUs: cloud.google.com/tpu/docs/v5e, v5p and v6e; a3-highgpu-8g and a DGX H100 have similar hosts.
MACHINES = {
    "v5e": Machine(
        "TPU v5e", "aot_v5e_16x16_global", True, CHIPS["v5e"], 256, 8, 224, 384 * _GB, 200 * _GBIT, _ETHERNET_HOP
    ),
    "v5p": Machine(
        "TPU v5p", "aot_v5p_2x2x1_global", True, CHIPS["v5p"], 6144, 4, 208, 448 * _GB, 200 * _GBIT, _ETHERNET_HOP
    ),
    "v6e": Machine(
        "TPU v6e", "aot_v6e_2x2_global", True, CHIPS["v6e"], 256, 8, 180, 1440 * _GB, 800 * _GBIT, _ETHERNET_HOP
    ),
    "h100": Machine(
        "H100, InfiniBand", "aot_v5p_2x2x1_global", False, _H100, 8, 8, 208, 1872 * _GB, 3200 * _GBIT, _INFINIBAND_HOP
    ),
    "h100_ethernet": Machine(
        "H100, Ethernet", "aot_v5p_2x2x1_global", False, _H100, 8, 8, 208, 1872 * _GB, 100 * _GBIT, _ETHERNET_HOP
    ),
}
