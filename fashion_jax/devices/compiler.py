"""What programs ask of the compiler, per platform, and how much computation they are.

As options of jax.jit, not as XLA_FLAGS: a misspelt XLA flag aborts the process, a misspelt option raises.
"""

import jax
from jax.sharding import Mesh

OPTIONS: dict[str, dict[str, str | bool | int]] = {
    # XLA's fusions into YNNPACK, on by default since jaxlib 0.10, are slower than its own loops and convolutions in
    # this network's gradients. An empty list of fusion types turns them off.
    "cpu": {"xla_cpu_experimental_ynn_fusion_type": ""},
    "gpu": {
        # The gradients' collectives run beside the backward pass, and as few of them as the whole gradient
        # (85 MB of a ResNet-34) allows.
        "xla_gpu_enable_latency_hiding_scheduler": True,
        "xla_gpu_all_reduce_combine_threshold_bytes": 128 << 20,
    },
    # On TPU latency hiding and combining are XLA's defaults.
    "tpu": {},
}

# What runs once: LLVM's full optimization would take longer than all that it saves. The bits are the same.
ONCE: dict[str, dict[str, str | bool | int]] = {"cpu": {"xla_backend_optimization_level": 1}}


def compiler_options(mesh: Mesh, once: bool = False) -> dict[str, str | bool | int]:
    """The options with which jax.jit compiles a step, or what runs once, for a mesh; none for most platforms."""
    return (ONCE if once else OPTIONS).get(mesh.devices.flat[0].platform, {})


def flops(traced: jax.stages.Traced) -> float:
    """Floating-point operations of a traced function, as XLA counts them: a multiplication and an addition are two.

    Of the plain operations, as TPUs get them, on every platform: the equivalents on CPU do with fewer.
    """
    return float(traced.lower(lowering_platforms=("tpu",)).cost_analysis()["flops"])
