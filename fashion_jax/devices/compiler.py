"""Compiler options per platform, each with its reason, and the number of operations of a program.

Steps get them through jax.jit, not through XLA_FLAGS: a misspelt XLA flag aborts the process, a misspelt option raises.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import jax
    from jax.sharding import Mesh

STEPS, SEVERAL, ONCE, DETERMINISTIC = "steps", "steps on several devices", "run once", "deterministic=true"
APART = "programs that processes run apart from each other"


class Option(NamedTuple):
    """A compiler option: the platform and the programs that it is for, its name and value, and why it is set."""

    platform: str
    programs: str
    name: str
    value: str | bool | int
    reason: str


# TPUs need none: latency hiding and combining are XLA's defaults there.
OPTIONS = (
    Option(
        "cpu",
        STEPS,
        "xla_cpu_experimental_ynn_fusion_type",
        "",
        "XLA's fusions into YNNPACK, on by default since jaxlib 0.10, are slower than its own loops and convolutions "
        "in the gradients of these networks. An empty list of fusion types turns them off.",
    ),
    Option(
        "cpu",
        ONCE,
        "xla_backend_optimization_level",
        1,
        "LLVM's full optimization takes longer than it saves in a program that runs once. Results are bit-identical.",
    ),
    Option(
        "gpu",
        SEVERAL,
        "xla_gpu_enable_latency_hiding_scheduler",
        True,
        "It overlaps the gradients' collectives with the backward pass. One device has no collectives to hide.",
    ),
    Option(
        "gpu",
        SEVERAL,
        "xla_gpu_all_reduce_combine_threshold_bytes",
        128 << 20,
        "The whole gradient (85 MB for a ResNet-34) goes into one all-reduce, which pays the network's latency once.",
    ),
    Option(
        "gpu",
        DETERMINISTIC,
        "xla_gpu_deterministic_ops",
        True,
        "It replaces atomic adds, whose order differs from run to run, and fixes the choice of algorithms.",
    ),
    Option(
        "gpu",
        DETERMINISTIC,
        "xla_gpu_exclude_nondeterministic_ops",
        True,
        "It raises an error if an operation has no deterministic implementation, instead of running another one.",
    ),
    Option(
        "gpu",
        APART,
        "xla_gpu_shard_autotuning",
        False,
        "Connected processes share the measurements of a program. One that does not compile it would be waited for.",
    ),
)


def compiler_options(mesh: Mesh, once: bool = False) -> dict[str, str | bool | int]:
    """Returns the options of jax.jit for a step, or for a program that runs `once`; empty on most platforms."""
    programs = {ONCE} if once else {STEPS, SEVERAL} if mesh.size > 1 else {STEPS}
    return options(mesh.devices.flat[0].platform, programs)


def options(platform: str, programs: set[str]) -> dict[str, str | bool | int]:
    """Returns name -> value of the options of a platform for some programs."""
    return {x.name: x.value for x in OPTIONS if x.platform == platform and x.programs in programs}


def deterministic_flags() -> str:
    """Returns the text for XLA_FLAGS that makes GPUs repeat every bit; other platforms ignore it.

    The flags cover all programs of a process, and must be set before jax looks at its devices.
    """
    return _flags(DETERMINISTIC)


def apart_flags() -> str:
    """Returns the text for XLA_FLAGS of connected processes that run programs apart; see `deterministic_flags`."""
    return _flags(APART)


def _flags(programs: str) -> str:
    return " ".join(f"--{x.name}={str(x.value).lower()}" for x in OPTIONS if x.programs == programs)


def flops(traced: jax.stages.Traced) -> float:
    """Returns the floating-point operations of a traced function, as XLA counts them: a multiply-add counts as two.

    Plain convolutions are counted on every platform, as lowered for TPU; the equivalents used on CPU need fewer.
    """
    from jaxlib import _jax  # Lowered.cost_analysis has nothing on GPUs and TPUs; there is no public way to ask a CPU

    lowered = traced.lower(lowering_platforms=("tpu",))
    module = lowered.compiler_ir("hlo").as_hlo_module()
    return float(_jax.hlo_module_cost_analysis(_cpu_client(), module)["flops"])


@functools.cache
def _cpu_client() -> Any:
    """Returns a client for the CPU, even where JAX_PLATFORMS leaves the CPU out."""
    from jaxlib import xla_client

    return xla_client.make_cpu_client()


def loop_unroll(mesh: Mesh) -> int:
    """Returns how many parts of a batch an iteration of the loop over them computes.

    On CPUs it is 2: parts that are compiled together share what they compute from the kernels, which a loop computes
    anew for each ("accumulate" in docs/speed.md). It takes the memory of two parts.
    """
    return 2 if mesh.devices.flat[0].platform == "cpu" else 1
