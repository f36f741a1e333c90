"""Compiler options per platform, and the number of operations of a program.

They are options of jax.jit, not XLA_FLAGS: a misspelt XLA flag aborts the process, a misspelt option raises.
"""

import jax
from jax.sharding import Mesh

OPTIONS: dict[str, dict[str, str | bool | int]] = {
    # XLA's fusions into YNNPACK, on by default since jaxlib 0.10, are slower than its own loops and convolutions in
    # this network's gradients. An empty list of fusion types turns them off.
    "cpu": {"xla_cpu_experimental_ynn_fusion_type": ""},
    "gpu": {
        # Overlap the gradients' collectives with the backward pass, and combine them: the threshold exceeds the
        # whole gradient (85 MB for a ResNet-34).
        "xla_gpu_enable_latency_hiding_scheduler": True,
        "xla_gpu_all_reduce_combine_threshold_bytes": 128 << 20,
    },
    # On TPU latency hiding and combining are XLA's defaults.
    "tpu": {},
}

# For programs that run once: LLVM's full optimization would take longer than it saves. Results are bit-identical.
ONCE: dict[str, dict[str, str | bool | int]] = {"cpu": {"xla_backend_optimization_level": 1}}


def compiler_options(mesh: Mesh, once: bool = False) -> dict[str, str | bool | int]:
    """Returns the options of jax.jit for a step, or for a program that runs `once`; empty on most platforms."""
    return (ONCE if once else OPTIONS).get(mesh.devices.flat[0].platform, {})


def flops(traced: jax.stages.Traced) -> float:
    """Returns the floating-point operations of a traced function, as XLA counts them: a multiply-add counts as two.

    Plain convolutions are counted on every platform, as lowered for TPU; the equivalents used on CPU need fewer.
    """
    return float(traced.lower(lowering_platforms=("tpu",)).cost_analysis()["flops"])
